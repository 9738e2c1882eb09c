"""A run keeps its newest checkpoints and its best weights."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from callbacks import EpochCheckpoint
from datamodules import Functions, Iris
from models import FunctionMLP, IrisMLP
from runtime.checkpoints import AtomicCheckpointIO
from runtime.errors import UserError

pytestmark = pytest.mark.filterwarnings(  # Lightning's, of folders that these tests use twice
    "ignore:Checkpoint directory .* exists and is not empty",
    "ignore:Be aware that when using `ckpt_path`, callbacks",
)


def fit(
    tmp_path: Path, *callbacks: Callback, batch_size: int = 40, ckpt_path: Path | None = None,
    model: Any = None, scored: bool = False, **kwargs: Any,
) -> Trainer:  # fmt: skip
    """Trains a classifier of iris, or with `scored` a model whose best loss is not kept."""
    trainer = Trainer(
        default_root_dir=tmp_path, callbacks=list(callbacks), logger=False, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, **kwargs,
    )  # fmt: skip
    data = Iris(batch_size=batch_size, val_fraction=0.2)
    model = FunctionMLP() if scored else model or IrisMLP()
    data = Functions(num_train=120, num_eval=8, batch_size=40) if scored else data
    trainer.fit(model, datamodule=data, ckpt_path=ckpt_path)
    return trainer


@pytest.mark.parametrize(("keep", "left"), [(2, 2), (-1, 4)])
def test_as_many_checkpoints_stay_as_a_run_keeps(tmp_path, keep, left):
    folder = tmp_path / "checkpoints"
    fit(tmp_path, EpochCheckpoint(keep, min_steps=0), max_epochs=4)
    files = sorted(folder.glob("epoch=*.ckpt"))
    assert len(files) == left
    assert (folder / "last.ckpt").readlink() == Path(files[-1].name)  # also after a move


def test_what_kills_have_left_is_removed_when_the_run_continues(tmp_path, monkeypatch):
    """A kill between a save and the removal of an older file leaves one that nobody mentions."""
    folder = tmp_path / "checkpoints"
    with monkeypatch.context() as killed:
        killed.setattr(AtomicCheckpointIO, "remove_checkpoint", lambda *_: None)
        plugins = [AtomicCheckpointIO()]
        other = ModelCheckpoint(save_top_k=-1)
        fit(tmp_path, EpochCheckpoint(min_steps=0), other, plugins=plugins, max_epochs=5)
    (folder / "epoch=000-step=0000003.ckpt").write_bytes(b"damaged")
    (folder / "epoch=009-step=0000030.ckpt").write_bytes(b"later, if the run has gone back")
    last = folder / "last.ckpt"
    fit(tmp_path, EpochCheckpoint(min_steps=0), ckpt_path=last, max_epochs=6)
    ours = [int(path.stem.rpartition("=")[2]) for path in sorted(folder.glob("epoch=00*"))]
    assert ours == [3, 10, 12, 30]
    assert len([*folder.glob("epoch=?-*")]) == 5  # of the other callback


EPOCH = "epoch=000-step=0000002.ckpt"
STATE = ("dirpath", "best_k_models", "best_model_path", "kth_best_model_path", "last_model_path")


def with_states(checkpoint: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Changes the states of the callbacks that save checkpoints."""
    content = torch.load(checkpoint, weights_only=True)
    for name, state in content["callbacks"].items():
        if "Checkpoint" in name:
            change(state)
    torch.save(content, checkpoint)
    return checkpoint


def test_no_state_of_a_callback_holds_a_path(tmp_path):
    fit(tmp_path, EpochCheckpoint(min_steps=0), ModelCheckpoint(save_last=True), max_epochs=2)
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert len(last["callbacks"]) == 2
    assert str(tmp_path) not in repr(last["callbacks"])


@pytest.mark.parametrize("left_out", [(), *((name,) for name in STATE), STATE[2:]], ids=str)
@pytest.mark.parametrize("named", STATE[1:])
def test_a_path_in_a_state_is_not_used(named, left_out, tmp_path):
    """Otherwise a checkpoint of somebody else removes any file."""
    run, precious = tmp_path / "runs" / "run", tmp_path / "precious.txt"
    folder = run / "checkpoints"
    own = ModelCheckpoint(monitor="train/loss", save_last=True, every_n_train_steps=1)
    plain = ModelCheckpoint(filename="plain", every_n_epochs=1)
    fit(run, own, plain, EpochCheckpoint(min_steps=0), max_epochs=2)
    precious.write_text("precious")
    victim = f"{folder}/../../../precious.txt"

    def attack(state: dict[str, Any]) -> None:
        models = {victim: torch.tensor(-1.0), "": torch.tensor(0.0)}
        state |= {"dirpath": str(folder), "best_k_models": {}} | dict.fromkeys(STATE[2:], "")
        state[named] = models if named == "best_k_models" else victim
        for name in left_out:
            state.pop(name)

    epochs = folder / "epoch=001-step=0000004.ckpt"
    saves = own, plain, EpochCheckpoint(min_steps=0)
    fit(run, *saves, ckpt_path=with_states(epochs, attack), max_epochs=6)
    assert precious.read_text() == "precious"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(
            ("best_k_models", value)
            for value in (5, "text", [1], {EPOCH: "b"}, {EPOCH: torch.zeros(2)})
        ),
        *(("lowest", value) for value in ("text", [1], {}, torch.zeros(2))),
    ],
)
def test_a_state_of_other_values_is_one_line(key, value, tmp_path):
    fit(tmp_path, EpochCheckpoint(min_steps=0), max_epochs=1)
    (tmp_path / "checkpoints" / "best.ckpt").touch()
    last = with_states(
        tmp_path / "checkpoints" / "last.ckpt", lambda state: state.update({key: value})
    )
    with pytest.raises(UserError, match=r"states of its callbacks are damaged.*give another"):
        fit(tmp_path, EpochCheckpoint(min_steps=0), ckpt_path=last, max_epochs=2)


def test_only_rank_zero_reads_what_it_removes(tmp_path, monkeypatch):
    (tmp_path / EPOCH).write_bytes(b"")
    saves, read = EpochCheckpoint(), list[Path]()
    saves.dirpath = str(tmp_path)
    saves.best_k_models = {str(tmp_path / "epoch=001-step=0000006.ckpt"): torch.tensor(6)}
    monkeypatch.setattr(saves, "_has_saved", lambda path: read.append(path))
    for first in (False, True):
        trainer: Any = SimpleNamespace(
            global_step=6,
            is_global_zero=first,
            train_dataloader=None,
            datamodule=None,
            ckpt_path=None,
        )
        saves.on_train_start(trainer, IrisMLP())
        assert len(read) == first


@pytest.mark.parametrize(("kept", "left"), [(2, 2), (-1, 6)])
def test_a_run_that_was_moved_keeps_as_many(kept, left, tmp_path):
    fit(tmp_path / "first", EpochCheckpoint(kept, min_steps=0), max_epochs=4)
    folder = shutil.move(tmp_path / "first", tmp_path / "second") / "checkpoints"
    last = folder / "last.ckpt"
    fit(tmp_path / "second", EpochCheckpoint(min_steps=0), ckpt_path=last, max_epochs=6)
    assert len([*folder.glob("epoch=*")]) == left


def test_a_run_saves_its_end_whenever_it_validates(tmp_path):
    trainer = fit(tmp_path, EpochCheckpoint(min_steps=0), max_epochs=3, check_val_every_n_epoch=2)
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["epoch"] == 2
    assert last["global_step"] == trainer.global_step


def test_an_epoch_is_saved_within_but_not_at_its_last_batch(tmp_path):
    """There are eight batches an epoch, and gradients accumulate over two of them."""
    saves = EpochCheckpoint(keep_last=-1, min_steps=10**6, every_n_steps=1)
    fit(tmp_path, saves, batch_size=12, max_epochs=2, accumulate_grad_batches=2)
    names = {path.stem for path in (tmp_path / "checkpoints").glob("epoch=*")}
    assert names == {f"epoch={(s - 1) // 4:03d}-step={s:07d}" for s in (1, 2, 3, 5, 6, 7, 8)}


class Validations(Callback):
    """Keeps the steps at which a run was validated, as early stopping keeps its best score."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self.steps.append(trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": [*self.steps]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps = [*state_dict["steps"]]


def test_a_checkpoint_within_an_epoch_follows_the_validation_of_its_step(tmp_path):
    """Lightning resumes behind that validation."""
    options: dict[str, Any] = {"batch_size": 12, "max_epochs": 1, "val_check_interval": 2}
    whole, resumed = Validations(), Validations()
    fit(tmp_path, whole, EpochCheckpoint(-1, 10**6, every_n_steps=2), **options)
    (saved,) = tmp_path.glob("checkpoints/*step=0000004.ckpt")
    fit(tmp_path / "again", resumed, ckpt_path=saved, **options)
    assert resumed.steps == whole.steps == [2, 4, 6, 8]


@pytest.mark.parametrize("place", ["moved", "named otherwise"])
def test_the_best_weights_stay_the_best_in_a_folder_with_another_name(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    callbacks = Scores([2.0, 1.0]), EpochCheckpoint(min_steps=0)
    fit(Path("first"), *callbacks, max_epochs=2, scored=True)
    folder = tmp_path / "first" if place == "named otherwise" else tmp_path / "second"
    if place == "moved":
        shutil.copytree("first", folder)
    last = folder / "checkpoints" / "last.ckpt"
    callbacks = Scores([0, 0, 3.0, 3.0]), EpochCheckpoint(min_steps=0)
    fit(folder, *callbacks, ckpt_path=last, max_epochs=4, scored=True)
    for root in ("first", folder):
        best = torch.load(Path(root, "checkpoints", "best.ckpt"), weights_only=True)
        assert best["epoch"] == 1
    assert len([*folder.glob("checkpoints/epoch=*")]) == 2


@pytest.mark.parametrize(("exists", "lowest"), [(True, 2.0), (False, torch.inf)])
def test_the_best_score_of_an_older_run_is_known(exists, lowest, tmp_path):
    """Another callback saved it, whose state Lightning does not load any more."""
    saves, trainer = EpochCheckpoint(), Trainer(logger=False, default_root_dir=tmp_path)
    saves.dirpath = str(tmp_path)
    if exists:
        (tmp_path / "best.ckpt").touch()
    older = {"BestCheckpoint{'monitor': 'val/frechet'}": {"best_model_score": torch.tensor(2.0)}}
    saves.on_load_checkpoint(trainer, IrisMLP(), {"callbacks": older})
    assert saves._lowest == lowest


class Scores(Callback):
    """Logs the score that the best checkpoint is chosen by; 0 in the sanity check."""

    def __init__(self, scores: list[float]) -> None:
        self.scores = scores

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch < len(self.scores):
            score = 0.0 if trainer.sanity_checking else self.scores[trainer.current_epoch]
            pl_module.log("val/frechet", score)


@pytest.mark.parametrize("every", [1, 2])  # Lightning then saves at another hook
@pytest.mark.parametrize(("scores", "best"), [([2.0, 1.0, 3.0], 1), ([], None)])
def test_the_best_weights_are_kept_where_there_are_scores(scores, best, every, tmp_path):
    options = {"max_epochs": 3, "check_val_every_n_epoch": every, "num_sanity_val_steps": 1}
    fit(tmp_path, Scores(scores), EpochCheckpoint(), **options, scored=True)
    path = tmp_path / "checkpoints" / "best.ckpt"
    found = torch.load(path, weights_only=True) if path.exists() else {}
    assert found.get("epoch") == best
    assert "optimizer_states" not in found


class Losses(Callback):
    """Keeps the loss and the weights of each validation."""

    def __init__(self) -> None:
        self.found: list[tuple[float, torch.Tensor]] = []

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        if not trainer.sanity_checking:
            weights = torch.nn.utils.parameters_to_vector(pl_module.parameters()).clone()
            self.found.append((trainer.callback_metrics["val/loss"].item(), weights))


def test_a_classifier_keeps_its_weights_with_the_lowest_validation_loss(tmp_path):
    """The rate is so large that the loss rises and falls."""
    losses, best = Losses(), tmp_path / "checkpoints" / "best.ckpt"
    torch.manual_seed(0)
    rate = partial(torch.optim.SGD, lr=20.0)
    fit(tmp_path, losses, EpochCheckpoint(), max_epochs=6, model=IrisMLP(optimizer=rate))
    lowest = min(range(6), key=lambda k: losses.found[k][0])
    assert 0 < lowest < 5
    loaded = IrisMLP.load_from_checkpoint(best)
    weights = torch.nn.utils.parameters_to_vector(loaded.parameters())
    assert torch.equal(weights, losses.found[lowest][1])
