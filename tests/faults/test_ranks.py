"""One of two ranks is killed or fails: the other ends at once with one line, nothing is lost."""

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from lightning import Callback
from lightning.pytorch.loggers import CSVLogger

import cli
from callbacks import DEFAULT_CALLBACKS
from commands import ladder_cli
from runtime.checkpoints import verify
from runtime.errors import LOST_PROCESS
from tests import ranks
from tests.faults.ledger import Ledger, Row, rounds
from tests.test_resume import KINDS as GANS
from tests.test_resume import SMALL

pytestmark = pytest.mark.ddp
ROUNDS = rounds(full=20, short=2)
PATIENCE = 120.0  # seconds after which a run counts as hung
EPOCHS, BATCHES = 3, 5

RUN = [
    "--data=Images", "--data.dataset=digits", "--data.batch_size=32",
    f"--trainer.max_epochs={EPOCHS}", f"--trainer.limit_train_batches={BATCHES}",
    "--trainer.limit_val_batches=1",
    "--trainer.accelerator=cpu", "--trainer.devices=2", "--checkpoint.min_steps=0",
]  # fmt: skip
KINDS = {
    "ImageClassifier": [
        "--model=ImageClassifier", "--model.network=FeedForward", "--model.network.hidden=16",
        "--model.network.dropout=0.2", *RUN,
    ],
    "GAN": [*GANS["GAN"], *SMALL, "--trainer.devices=2"],
}  # fmt: skip


class Kill(Callback):
    """Kills this rank a moment after a step has begun."""

    def __init__(self, victim: int, step: int, seconds: float) -> None:
        self.victim, self.step, self.seconds = victim, step, seconds

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.global_rank == self.victim and trainer.global_step == self.step:
            Timer(self.seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()


class Fail(Callback):
    """Fails on rank 1 alone."""

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.global_rank == 1 and trainer.global_step == 1:
            raise RuntimeError("a defect of the user's own")


class BrokenLogger(CSVLogger):
    """Cannot be made."""

    def __init__(self) -> None:
        raise OSError("no such service")


def fit(root: Path, kind: str, *more: str, callback: Callback | None = None) -> list[int | None]:
    """Runs the command line on two ranks, and returns their exit codes."""
    extra = [lambda: callback] if callback else []

    def work() -> None:
        ladder_cli.DEFAULT_CALLBACKS = (*DEFAULT_CALLBACKS, *extra)  # type: ignore[assignment]
        cli.main(["fit", *KINDS[kind], f"--trainer.default_root_dir={root}", *more])

    return ranks.end(ranks.start(2, work, root), PATIENCE)


def log(root: Path, rank: int) -> str:
    return (root / f"{rank}.log").read_text()


def errors(root: Path) -> list[str]:
    lines = [line for rank in (0, 1) for line in log(root, rank).splitlines()]
    return [line.removeprefix("error: ") for line in lines if line.startswith("error:")]


def last_of(root: Path) -> Path:
    (last,) = root.glob("*/version_*/checkpoints/last.ckpt")
    return last


def test_a_killed_rank_ends_the_other_and_the_run_goes_on_to_the_bit(
    tmp_path: Path, ledger: Ledger, weights_hash: Callable[[Path], str]
) -> None:
    whole: dict[str, str] = {}
    lost = hung = silent = 0
    for seed in range(ROUNDS):
        chance, kind = random.Random(seed), list(KINDS)[seed // 2 % len(KINDS)]
        if kind not in whole:
            (root := tmp_path / kind).mkdir()
            assert fit(root, kind) == [0, 0], log(root, 0)[-3000:]
            whole[kind] = weights_hash(last_of(root))
        (root := tmp_path / str(seed)).mkdir()
        victim, step = seed % 2, chance.randrange(BATCHES, EPOCHS * BATCHES - 1)
        codes = fit(root, kind, callback=Kill(victim, step, chance.uniform(0, 0.02)))
        assert codes[victim] == -signal.SIGKILL, f"{seed}: {codes}"
        hung += codes[1 - victim] == -signal.SIGKILL
        reason = log(root, 1 - victim)
        silent += codes[1 - victim] != 1 or errors(root) != [LOST_PROCESS] or "Trace" in reason
        verify(last_of(root).resolve())
        assert fit(root, kind, "--ckpt_path=last") == [0, 0], log(root, 0)[-3000:]
        lost += weights_hash(last_of(root)) != whole[kind]
        print(f"{kind}: rank {victim} killed in step {step}; codes {codes}", flush=True)
    ledger.add(Row("SIGKILL of one of two ranks", ROUNDS, lost, hung, silent))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--trainer.logger=tests.faults.test_ranks.BrokenLogger"], "no such service"),
        (["--trainer.default_root_dir={root}/0.log/runs"], "cannot be created"),
    ],
)
def test_what_fails_on_rank_zero_alone_ends_both(
    options: list[str], reason: str, tmp_path: Path, ledger: Ledger
) -> None:
    codes = fit(tmp_path, "ImageClassifier", *(o.format(root=tmp_path) for o in options))
    (error,) = set(errors(tmp_path))
    assert reason in error
    ledger.add(Row(f"only rank zero fails: {reason}", 1, silent=int(codes != [2, 2])))


def test_a_defect_on_one_rank_shows_where_it_is(tmp_path: Path, ledger: Ledger) -> None:
    codes = fit(tmp_path, "ImageClassifier", callback=Fail())
    assert errors(tmp_path) == [LOST_PROCESS]
    assert "a defect of the user's own" in log(tmp_path, 1)
    assert "Traceback" in log(tmp_path, 1)
    ledger.add(Row("an error on one of two ranks", 1, silent=int(codes != [1, 1])))
