"""A wrong bit ends a run; the search for one changes nothing."""

import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

import cli
from runtime.errors import RunFailedError
from runtime.repetition import compare_bits
from tests import ranks
from tests.conftest import weights_hash_of
from tests.faults.runs import MODELS, rows_of

RUN = [
    "--data=Images", "--data.dataset=digits", "--data.batch_size=64", "--experiment=run",
    "--trainer.max_epochs=2", "--trainer.limit_train_batches=6", "--trainer.limit_val_batches=1",
    "--trainer.log_every_n_steps=2", "--trainer.accelerator=cpu", "--trainer.pictures=false",
    "--trainer.precision=32-true", "--trainer.enable_progress_bar=false", "--quality.samples=0",
]  # fmt: skip
ACCUMULATING = {
    "GAN": "--model.accumulate_grad_batches=2",
    "classifier": "--trainer.accumulate_grad_batches=2",
}


def fit(folder: Path, kind: str, *flags: str) -> None:
    cli.main(["fit", *MODELS[kind], *RUN, f"--trainer.default_root_dir={folder}", *flags])


class Flip(Callback):
    """Flips the last bit of one number of rank `rank`, at the start of a batch or in its step."""

    def __init__(self, what: str, batch: int, rank: int = 0) -> None:
        self.what, self.batch, self.rank = what, batch, rank

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.due = batch_idx == self.batch and trainer.global_rank == self.rank
        weight = next(pl_module.parameters())
        if self.due and self.what == "weight":
            flip(weight.data)
        if self.due and self.what == "moment":
            flip(next(o for o in trainer.optimizers if weight in o.state).state[weight]["exp_avg"])

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Any
    ) -> None:
        if self.due and self.what == "gradient":
            weight = next(pl_module.parameters())
            if weight.grad is not None:
                flip(weight.grad)
                self.due = False


def flip(number: Tensor) -> None:
    number.view(torch.int32).flatten()[0] ^= 1 << 20


def flags(what: str, batch: int, rank: int = 0) -> list[str]:
    of_flip = f"--trainer.callbacks={__name__}.Flip", f"--trainer.callbacks.what={what}"
    return [*of_flip, f"--trainer.callbacks.batch={batch}", f"--trainer.callbacks.rank={rank}"]


def the_error(text: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith("error:")]
    return line


FOUND = {
    "weight": "{name} changed between two steps",
    "moment": "optimizer state of {name} changed between two steps",
    "gradient": "{name} differs if the step is repeated",
}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("what", FOUND)
def test_a_wrong_bit_ends_a_run(kind, what, tmp_path, in_root, capsys):
    with pytest.raises(SystemExit) as stopped:
        fit(tmp_path, kind, "--trainer.check_every=4", *flags(what, 4))
    assert stopped.value.code == 1
    found = FOUND[what].format(name=r"\S+")
    line = the_error(capsys.readouterr().err)
    assert re.search(rf"corruption at step 5 on rank 0: {found}\. .*--ckpt_path FILE", line), line


@pytest.mark.ddp
@pytest.mark.parametrize(
    ("kind", "what", "every", "found"),
    [
        ("GAN", "weight", 4, "on rank 0 or 1: {name} differs between ranks"),
        ("classifier", "moment", 4, "on rank 0 or 1: {name} differs between ranks"),
        ("GAN", "gradient", 2, "on rank 1: {name} differs if the step is repeated"),
    ],
)
def test_a_wrong_bit_on_one_of_two_ranks_ends_both(kind, what, every, found, tmp_path):
    more = "--trainer.devices=2", "--trainer.strategy=ddp", f"--trainer.check_every={every}"
    started = ranks.start(2, lambda: fit(tmp_path, kind, *more, *flags(what, 2, 1)), tmp_path)
    codes = ranks.end(started, 120)
    text = "".join((tmp_path / f"{rank}.log").read_text() for rank in (0, 1))
    assert codes == [1, 1], text[-3000:]
    assert re.search(found.format(name=r"(optimizer state of )?\S+"), the_error(text))


@pytest.mark.parametrize("kind", MODELS)
def test_the_search_changes_nothing(kind, tmp_path, in_root):
    for name, more in {
        "plain": [], "checked": ["--trainer.check_every=1"],
        "accumulating": [ACCUMULATING[kind]],
        "accumulating, checked": [ACCUMULATING[kind], "--trainer.check_every=1"],
    }.items():  # fmt: skip
        fit(tmp_path / name, kind, *more)
    for name in ("", "accumulating, "):
        plain = tmp_path / (name.removesuffix(", ") or "plain") / "run" / "version_0"
        checked = tmp_path / f"{name}checked" / "run" / "version_0"
        last = "checkpoints/last.ckpt"
        assert weights_hash_of(plain / last) == weights_hash_of(checked / last)
        assert rows_of(plain) == rows_of(checked)


class CountedValidations(Callback):
    """Keeps a number in a buffer that validations change, as a model of a user may."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        pl_module.register_buffer("validations", torch.zeros(()))

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        pl_module.validations += 1


def test_a_validation_may_change_a_buffer(tmp_path, in_root):
    callback = f"--trainer.callbacks={__name__}.CountedValidations"
    fit(tmp_path, "classifier", "--trainer.check_every=1", callback)


def test_of_three_ranks_the_odd_one_is_named():
    sums = torch.arange(8).expand(4, 8)
    others = sums.clone()
    others[:, [1, 7]] += 1  # a weight, and a buffer of the rank's own
    gathered = torch.stack([sums, others, sums])
    trainer: Any = SimpleNamespace(
        global_step=9, strategy=SimpleNamespace(all_gather=lambda _: gathered)
    )
    names = [f"tensor {i}" for i in range(8)]
    with pytest.raises(RunFailedError, match="at step 9 on rank 1: tensor 1 differs between ranks"):
        compare_bits(trainer, names, sums, shared=7)
    gathered[1, :, 1] -= 1
    compare_bits(trainer, names, sums, shared=7)


@pytest.mark.ddp
@pytest.mark.parametrize("more", [[], [ACCUMULATING["classifier"]]])
def test_three_ranks_resume_to_the_bit(more, tmp_path):
    """Two sum to the same bits in any order."""
    options = [*more, "--trainer.devices=3", "--trainer.strategy=ddp", "--data.batch_size=48"]
    options += ["--checkpoint.min_steps=0", "--trainer.check_every=3"]
    for name, flags in (
        ("whole", []),
        ("parts", ["--trainer.max_epochs=1"]),
        ("parts", ["--ckpt_path=last"]),
    ):
        work = partial(fit, tmp_path / name, "classifier", *options, *flags)
        codes = ranks.end(ranks.start(3, work, tmp_path), 120)
        assert codes == [0] * 3, (tmp_path / "0.log").read_text()[-3000:]
    last = "run/version_0/checkpoints/last.ckpt"
    assert weights_hash_of(tmp_path / "whole" / last) == weights_hash_of(tmp_path / "parts" / last)
