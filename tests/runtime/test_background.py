"""A checkpoint that is written in the background is the run's state at the moment of saving."""

import contextlib
import errno
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import FSDPStrategy

import cli
from datamodules import Iris
from models import IrisMLP
from runtime import files
from runtime.background import BackgroundCheckpointIO, start
from runtime.checkpoint_files import AtomicCheckpointIO
from runtime.checkpoints import EpochCheckpoint, problem_of
from runtime.errors import UserError
from runtime.trainer import LadderTrainer
from tests import ranks
from tests.runtime.test_checkpoint_files import contents_equal

SECONDS = 60.0  # after which a wait has failed


class HeldIO(AtomicCheckpointIO):
    """Writes each file only after a permit."""

    def __init__(self) -> None:
        self.requests = threading.Semaphore(0)  # all earlier jobs are done
        self.permits = threading.Semaphore(0)

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        self.requests.release()
        assert self.permits.acquire(timeout=SECONDS), "nobody permitted the write"
        super().save_checkpoint(*args, **kwargs)


def content(value: float) -> dict[str, Any]:
    weights = torch.full((9,), value)
    return {"state_dict": {"w": weights}, "loops": {"steps": [value]}, "again": [weights[:1]]}


@pytest.fixture
def held() -> Any:
    io = BackgroundCheckpointIO(HeldIO())
    io.start()
    yield io
    io.io.permits.release(100)  # type: ignore[attr-defined]
    io.teardown()


def test_what_changes_while_the_file_is_written_is_not_in_it(held: Any, tmp_path: Path) -> None:
    state = content(1.0)
    held.save_checkpoint(state, tmp_path / "a.ckpt")
    state["state_dict"]["w"].fill_(2.0)
    state["loops"]["steps"].append(2.0)
    assert not (tmp_path / "a.ckpt").exists()
    held.io.permits.release()
    loaded = held.load_checkpoint(tmp_path / "a.ckpt")  # waits
    for key, value in content(1.0).items():
        assert contents_equal(loaded[key], value), key


def test_links_and_removals_wait_for_the_file_before_them(held: Any, tmp_path: Path) -> None:
    old = tmp_path / "old.ckpt"
    AtomicCheckpointIO().save_checkpoint(content(0.0), old)
    held.save_checkpoint(content(1.0), tmp_path / "new.ckpt")
    seen: list[bool] = []
    held.submit(lambda: seen.append((tmp_path / "new.ckpt").is_file()))
    held.remove_checkpoint(old)
    assert old.is_file()
    assert not seen
    held.io.permits.release()
    held.flush()
    assert seen == [True]
    assert not old.exists()


def test_a_third_copy_waits(held: Any, tmp_path: Path) -> None:
    for name in "ab":
        held.save_checkpoint(content(0.0), tmp_path / f"{name}.ckpt")
    third = threading.Thread(
        target=held.save_checkpoint, args=(content(0.0), tmp_path / "c.ckpt"), daemon=True
    )
    third.start()
    third.join(0.3)
    assert third.is_alive()
    held.io.permits.release()
    third.join(SECONDS)
    assert not third.is_alive()
    assert (tmp_path / "a.ckpt").is_file()


class FailingIO(AtomicCheckpointIO):
    def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        time.sleep(0.2)  # the jobs below wait
        raise OSError("disk full")


def save_until_it_fails(io: BackgroundCheckpointIO, old: Path) -> None:
    for _ in range(100):
        io.save_checkpoint(content(2.0), old.with_name("newer.ckpt"))


ENDS = {
    "save": save_until_it_fails,
    "load": lambda io, old: io.load_checkpoint(old),
    "flush": lambda io, old: io.flush(),
    "teardown": lambda io, old: io.teardown(),
}


@pytest.mark.parametrize("end", ENDS)
def test_after_a_failure_nothing_is_linked_or_removed(end: str, tmp_path: Path) -> None:
    old, done = tmp_path / "old.ckpt", []
    AtomicCheckpointIO().save_checkpoint(content(0.0), old)
    io = BackgroundCheckpointIO(FailingIO())
    io.start()
    io.save_checkpoint(content(1.0), tmp_path / "new.ckpt")
    io.submit(done.append, "link")
    io.remove_checkpoint(old)
    with pytest.raises(OSError, match="disk full"):
        ENDS[end](io, old)
    with contextlib.suppress(OSError):
        io.teardown()
    assert not done
    assert old.is_file()


def test_strategies_that_write_themselves_are_refused() -> None:
    trainer: Any = SimpleNamespace(strategy=FSDPStrategy())
    with pytest.raises(UserError, match="background: FSDP writes its checkpoints"):
        start(trainer)


class Epochs(Callback):
    """Records the weights at each epoch's end, and permits the write 2 batches later."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.weights: dict[int, dict[str, torch.Tensor]] = {}  # by step
        self.files: list[set[str]] = []  # before each permit

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        state = pl_module.state_dict()
        self.weights[trainer.global_step] = {name: w.clone() for name, w in state.items()}

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if trainer.is_global_zero and trainer.global_step - 2 in self.weights:
            self.permit(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            time.sleep(0.5)  # other ranks are at the end long before the file
            self.permit(trainer)

    def permit(self, trainer: Trainer) -> None:
        io: Any = trainer.strategy.checkpoint_io
        assert io.io.requests.acquire(timeout=SECONDS), "nothing is to be written"
        self.files.append({path.name for path in self.folder.glob("*.ckpt") if path.is_file()})
        io.io.permits.release()


def fit(root: Path, *callbacks: Callback, keep_last: int = 1, devices: int = 1) -> list[str]:
    """Trains for 3 epochs, and returns the names of their checkpoints."""
    saves = EpochCheckpoint(keep_last=keep_last, min_steps=0, background=True)
    trainer = LadderTrainer(
        default_root_dir=root, callbacks=[*callbacks, saves], logger=False, accelerator="cpu",
        plugins=[HeldIO()], max_epochs=3, enable_progress_bar=False, enable_model_summary=False,
        devices=devices, strategy="ddp" if devices > 1 else "auto",
    )  # fmt: skip
    trainer.fit(IrisMLP(), datamodule=Iris(batch_size=16, val_fraction=0.2))
    batches = trainer.global_step // 3
    return [f"epoch={epoch:03d}-step={batches * (epoch + 1):07d}.ckpt" for epoch in range(3)]


def test_a_run_trains_on_while_a_file_is_written(tmp_path: Path) -> None:
    epochs = Epochs(tmp_path / "checkpoints")
    names = fit(tmp_path, epochs, keep_last=-1)
    for name, (step, weights) in zip(names, epochs.weights.items(), strict=True):
        saved = torch.load(epochs.folder / name, weights_only=True)
        assert saved["global_step"] == step
        assert contents_equal(saved["state_dict"], weights), name
    assert (epochs.folder / "last.ckpt").resolve().name == names[2]


def test_the_older_file_stays_until_the_newer_is_whole(tmp_path: Path) -> None:
    epochs = Epochs(tmp_path / "checkpoints")
    names = fit(tmp_path, epochs)
    assert epochs.files == [set(), {names[0], "last.ckpt"}, {names[1], "last.ckpt"}]
    assert {path.name for path in epochs.folder.iterdir()} == {names[2], "last.ckpt"}


@pytest.mark.ddp
def test_other_ranks_wait_for_no_file_but_the_last(tmp_path: Path) -> None:
    def work() -> None:
        names = fit(tmp_path, Epochs(tmp_path / "checkpoints"), devices=2)
        assert problem_of(tmp_path / "checkpoints" / names[2]) == ""

    assert ranks.end(ranks.start(2, work, tmp_path), 2 * SECONDS) == [0, 0]


def test_an_error_in_training_leaves_whole_files(tmp_path: Path) -> None:
    class Failing(Epochs):
        def permit(self, trainer: Trainer) -> None:
            super().permit(trainer)
            raise KeyError("in training")

    with pytest.raises(KeyError, match="in training"):
        fit(tmp_path, Failing(tmp_path / "checkpoints"))
    assert problem_of(tmp_path / "checkpoints" / "last.ckpt") == ""


FIT = [
    "fit", "--model=IrisMLP", "--data=Iris", "--data.batch_size=40", "--trainer.max_epochs=3",
    "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--checkpoint.min_steps=0",
]  # fmt: skip


@pytest.mark.parametrize("background", ["false", "true"])
@pytest.mark.parametrize("at", [2, 3])  # within the run, and at its end
def test_a_full_disk_is_the_same_line(
    at: int,
    background: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write, saves = files.write, []

    def full(path: Path, save: Any) -> None:
        if path.suffix == ".ckpt":
            saves.append(path)
            if len(saves) == at:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, save)

    monkeypatch.setattr(files, "write", full)
    with pytest.raises(SystemExit) as stopped:
        cli.main(
            [
                *FIT,
                f"--trainer.default_root_dir={tmp_path}",
                f"--checkpoint.background={background}",
            ]
        )
    assert stopped.value.code == 1
    (line,) = [n for n in capsys.readouterr().err.splitlines() if n.startswith("error:")]
    assert f"{saves[at - 1].name} cannot be written (No space left on device" in line
    assert len(saves) == at  # no other save after it
    last = saves[0].with_name("last.ckpt")
    assert last.resolve() == saves[at - 2]
    assert problem_of(last) == ""
