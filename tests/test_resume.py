"""A run that is killed and resumed ends with the bits of one that was not."""

import csv
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning import Callback

import cli
from callbacks import DEFAULT_CALLBACKS
from commands.fit import ladder_cli
from runtime.preemption import SAVED_EXIT_CODE
from tests.results.recorded import without_times
from tests.test_cli import fails, run

KINDS = {
    "GAN": ["--model", "GAN"],
    "ConditionalGAN": [
        "--model", "ConditionalGAN", "--model.discriminator=ACGANDiscriminator",
        "--model.augment=DiffAugment", "--model.fake_labels=data",
    ],
    "SelfConditionedGAN": ["--model", "SelfConditionedGAN", "--model.clusters=8"],
    "penalties": [
        "--model=GAN", "--model.discriminator.loss=Relativistic", "--model.spectral_norm=true",
        "--model.penalties.r1=1", "--model.penalties.r2=1", "--model.penalties.every=2",
        "--model.augment=InstanceNoise", "--model.augment.noise=0.1",
        "--model.augment.noise_steps=12",
        "--model.schedule.shape=cosine",
    ],
}  # fmt: skip
SMALL = [
    # The generator has batch norm, the trunk dropout: both must continue as they were.
    "--model.generator.width=2", "--model.trunk=LectureTrunk", "--model.trunk.channels=2",
    "--model.initialization=glorot", "--model.average.decay=0.9", "--model.latent_dim=4",
    "--data=Images", "--data.dataset=digits", "--data.batch_size=32",
    "--trainer.max_epochs=4", "--trainer.limit_train_batches=5", "--trainer.limit_val_batches=1",
    "--trainer.log_every_n_steps=1", "--trainer.accelerator=cpu",
    "--checkpoint.min_steps=0", "--samples.min_steps=1000", "--quality.samples=100",
]  # fmt: skip
STOPS = [
    ("on_train_batch_end", 3),  # before any epoch's checkpoint
    ("on_train_batch_end", 5),  # an epoch's last batch
    ("on_train_batch_end", 7),
    ("on_validation_start", 10),
    ("on_train_epoch_end", 15),
]


class Kill(Callback):
    """Sends this process SIGTERM at a hook, once a step is reached."""

    def __init__(self, hook: str, step: int) -> None:
        def kill(trainer: Any, *_: Any) -> None:
            if trainer.global_step == step and not trainer.sanity_checking:
                os.kill(os.getpid(), signal.SIGTERM)

        setattr(self, hook, kill)


def fit(root: Path, kind: str, *more: str, kill: Callback | None = None) -> Path:
    """Runs the command line, and returns the run's folder."""
    extra = [lambda: kill] if kill else []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ladder_cli, "DEFAULT_CALLBACKS", (*DEFAULT_CALLBACKS, *extra))
        cli.main(["fit", *KINDS[kind], *SMALL, f"--trainer.default_root_dir={root}", *more])
    (folder,) = root.glob("*/version_*")
    return folder


def logged_steps(folder: Path) -> list[tuple[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return [(row["step"], row["val/d_loss"]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folders: dict[str, Path] = {}

    def run(kind: str) -> Path:
        if kind not in folders:
            folders[kind] = fit(tmp_path_factory.mktemp(kind), kind)
        return folders[kind]

    return run


@pytest.mark.parametrize(
    ("kind", "stops"),
    [
        ("ConditionalGAN", [STOPS[0], STOPS[1], STOPS[3]]),
        ("penalties", STOPS[2:3]),
        pytest.param("GAN", STOPS, marks=pytest.mark.slow),
        pytest.param("SelfConditionedGAN", STOPS[2:3], marks=pytest.mark.slow),
    ],
)
def test_stopped_and_resumed_is_the_run_that_was_not_stopped(
    kind, stops, tmp_path, uninterrupted, weights_hash
):
    resumed: list[str] = []
    for stop in stops:
        with pytest.raises(SystemExit) as stopped:
            fit(tmp_path, kind, *resumed, kill=Kill(*stop))
        assert stopped.value.code == SAVED_EXIT_CODE, stop
        resumed = ["--ckpt_path=last"]
    folder = fit(tmp_path, kind, *resumed)
    whole = uninterrupted(kind)
    last = "checkpoints/last.ckpt"
    assert weights_hash(folder / last) == weights_hash(whole / last)
    assert logged_steps(folder) == logged_steps(whole)  # the past is kept, no validation is lost
    assert "ckpt_path" not in yaml.safe_load((folder / "config.yaml").read_text())


@pytest.mark.parametrize(
    "name", ["flow", *(pytest.param(name, marks=pytest.mark.slow) for name in ("drift", "vae"))]
)
def test_every_generative_model_continues_to_the_bit(name, tmp_path, in_root, weights_hash):
    args = [
        "fit", f"--config=configs/points/{name}.yaml", "--data.count=256", "--data.batch_size=32",
        "--trainer.max_steps=20", "--model.average.decay=0.9", "--samples.min_steps=1000",
        "--checkpoint.min_steps=0", "--trainer.pictures=false",
        f"--trainer.default_root_dir={tmp_path}",
    ]  # fmt: skip
    cli.main([*args, "--experiment=whole"])
    for more, step in (([], 3), (["--ckpt_path=last"], 13)):
        kill = Kill("on_train_batch_end", step)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ladder_cli, "DEFAULT_CALLBACKS", (*DEFAULT_CALLBACKS, lambda k=kill: k))
            with pytest.raises(SystemExit):
                cli.main([*args, *more, "--experiment=run"])
    cli.main([*args, "--ckpt_path=last", "--experiment=run"])
    last = "version_0/checkpoints/last.ckpt"
    assert weights_hash(tmp_path / "run" / last) == weights_hash(tmp_path / "whole" / last)


class Crash(Callback):
    """Raises an error within the second epoch, after its fourth batch."""

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 9:
            raise ZeroDivisionError


def test_a_run_that_saves_within_an_epoch_loses_no_more_than_since_then(
    tmp_path, uninterrupted, weights_hash
):
    within = "--checkpoint.every_n_steps=4"
    with pytest.raises(ZeroDivisionError):
        fit(tmp_path, "ConditionalGAN", within, "--checkpoint.min_steps=1000", kill=Crash())
    (last,) = tmp_path.glob("*/*/checkpoints/last.ckpt")
    assert torch.load(last, weights_only=True)["global_step"] == 8
    folder = fit(tmp_path, "ConditionalGAN", within, "--ckpt_path=last")
    whole = uninterrupted("ConditionalGAN")
    last = Path("checkpoints/last.ckpt")
    assert weights_hash(folder / last) == weights_hash(whole / last)
    assert logged_steps(folder) == logged_steps(whole)


def test_a_run_killed_after_its_last_step_gets_its_evaluation(tmp_path, in_root):
    args = ["fit", "--config=configs/iris.yaml", f"--trainer.default_root_dir={tmp_path}"]
    args += ["--trainer.max_epochs=2", "--trainer.log_every_n_steps=1", "--data.val_fraction=0.2"]
    cli.main(args)
    (folder,) = tmp_path.glob("iris/version_*")
    found, rows = without_times(folder / "metrics.json"), (folder / "metrics.csv").read_text()
    (folder / "metrics.json").unlink()
    shutil.rmtree(folder / "figures")
    cli.main([*args, f"--ckpt_path={folder}"])
    assert without_times(folder / "metrics.json") == found
    assert (folder / "metrics.csv").read_text() == rows
    assert (folder / "figures" / "confusion_val.png").exists()


def test_a_refused_resume_changes_no_file_of_the_run(tmp_path, capsys):
    root = f"--trainer.default_root_dir={tmp_path}"
    few = ["--trainer.max_steps=4", "--trainer.pictures=false"]
    run("fit", "--config=configs/iris.yaml", *few, root)
    folder = tmp_path / "iris" / "version_0"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    line = fails(capsys, "fit", f"--ckpt_path={folder}", "--data.val_fraction=0.3", root)
    assert "the checkpoint was trained with data.val_fraction" in line
    assert {path: path.read_bytes() for path in before} == before
    run("fit", f"--ckpt_path={folder}", "--trainer.max_steps=8", root)
    assert "max_steps: 8" in (folder / "config.yaml").read_text()  # of the resumed run
