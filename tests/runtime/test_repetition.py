"""A first step that is repeated changes nothing, and lets three ranks resume to the bit."""

from functools import partial
from pathlib import Path

import pytest

import cli
from tests import ranks
from tests.conftest import weights_hash_of
from tests.faults.runs import MODELS, rows_of

RUN = [
    "--data=Images", "--data.dataset=digits", "--data.batch_size=48", "--experiment=run",
    "--trainer.max_epochs=2", "--trainer.limit_train_batches=6", "--trainer.limit_val_batches=1",
    "--trainer.log_every_n_steps=2", "--trainer.accelerator=cpu", "--trainer.pictures=false",
    "--trainer.precision=32-true", "--trainer.enable_progress_bar=false", "--quality.samples=0",
]  # fmt: skip
ACCUMULATING = "--trainer.accumulate_grad_batches=2"
LAST = "run/version_0/checkpoints/last.ckpt"


def fit(folder: Path, *flags: str) -> None:
    cli.main(["fit", *MODELS["classifier"], *RUN, f"--trainer.default_root_dir={folder}", *flags])


@pytest.mark.parametrize("more", [[], [ACCUMULATING]])
def test_a_repetition_changes_nothing(more, tmp_path, in_root):
    repetition = "--trainer.callbacks=runtime.repetition.Repetition"
    for name, flags in (("plain", []), ("repeated", [repetition])):
        fit(tmp_path / name, *more, *flags)
    plain, repeated = tmp_path / "plain", tmp_path / "repeated"
    assert weights_hash_of(plain / LAST) == weights_hash_of(repeated / LAST)
    assert rows_of((plain / LAST).parents[1]) == rows_of((repeated / LAST).parents[1])


@pytest.mark.ddp
@pytest.mark.slow
@pytest.mark.parametrize("more", [[], [ACCUMULATING]])
def test_three_ranks_resume_to_the_bit(more, tmp_path):
    """Two sum to the same bits in any order."""
    options = [*more, "--trainer.devices=3", "--trainer.strategy=ddp", "--checkpoint.min_steps=0"]
    for name, flags in (
        ("whole", []),
        ("parts", ["--trainer.max_epochs=1"]),
        ("parts", ["--ckpt_path=last"]),
    ):
        work = partial(fit, tmp_path / name, *options, *flags)
        codes = ranks.end(ranks.start(3, work, tmp_path), 120)
        assert codes == [0] * 3, (tmp_path / "0.log").read_text()[-3000:]
    assert weights_hash_of(tmp_path / "whole" / LAST) == weights_hash_of(tmp_path / "parts" / LAST)
