"""Order, shares, counts and position in the epoch, alone and under a Trainer."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from datamodules import ArrayDataModule, BatchLoader, Split, Splits
from runtime.errors import UserError


def loader(n: int = 23, batch_size: int = 4, **kwargs: Any) -> BatchLoader:
    tensors = (torch.arange(n, dtype=torch.uint8), torch.arange(n) * 10)
    return BatchLoader(tensors, batch_size, **{"shuffle": True, "seed": 5, **kwargs})


def batches(of: BatchLoader) -> list[list[int]]:
    seen = []
    for inputs, targets in of:
        assert torch.equal(inputs.long() * 10, targets)  # rows stay together
        seen.append(inputs.tolist())
    return seen


def test_training_sees_whole_batches_of_different_examples_in_an_order_of_seed_and_epoch():
    first = batches(loader())
    assert [len(batch) for batch in first] == [4] * 5
    assert len(set(sum(first, []))) == 20
    assert batches(loader()) == first
    assert batches(loader(seed=6)) != first
    later = loader()
    later.set_epoch(1)
    assert batches(later) != first
    later.set_epoch(0)
    assert batches(later) == first


@pytest.mark.parametrize("world_size", [2, 4])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("n", [16, 17, 23])
def test_ranks_share_the_batches_of_one_process(world_size, shuffle, n):
    alone = batches(loader(n, 8, shuffle=shuffle))
    ranks = [
        batches(loader(n, 8, shuffle=shuffle, rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    assert len({len(rank) for rank in ranks}) == 1
    joined = [sum(shares, []) for shares in zip(*ranks, strict=True)]
    assert sum(joined, []) == sum(alone, [])
    for shares in zip(*ranks, strict=True):
        sizes = [len(share) for share in shares]
        assert min(sizes) > 0
        assert max(sizes) - min(sizes) <= 1
    if shuffle:
        assert joined == alone
    else:
        assert sum(joined, []) == list(range(n))


def test_balanced_training_takes_each_class_equally_often_as_a_function_of_seed_and_epoch():
    classes = torch.tensor([0] * 17 + [1] * 4 + [2] * 2)
    balanced = partial(loader, 23, 6, classes=classes)
    found = batches(balanced())
    assert [len(batch) for batch in found] == [6] * 3
    for batch in found:
        assert classes[batch].bincount().tolist() == [2, 2, 2]
    rows = sum(found, [])
    assert len({row for row in rows if row < 17}) == 6  # none twice
    assert {row for row in rows if row >= 17} == {*range(17, 23)}  # all, some again
    assert batches(balanced()) == found != batches(balanced(seed=6))
    resumed = balanced()
    resumed.load_state_dict({"position": 1, "epoch": 0, "seed": 5, "batch_size": 6})
    assert batches(resumed) == found[1:]
    ranks = [batches(balanced(rank=rank, world_size=2)) for rank in (0, 1)]
    assert [a + b for a, b in zip(*ranks, strict=True)] == found


def test_evaluation_keeps_the_last_partial_batch():
    assert batches(loader(10, 4, shuffle=False)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert batches(loader(3, 4, shuffle=False)) == [[0, 1, 2]]
    assert batches(loader(2, 1, shuffle=False)) == [[0], [1]]


def test_a_remainder_smaller_than_the_ranks_joins_the_batch_before():
    def shares(n):
        return [batches(loader(n, 4, shuffle=False, rank=r, world_size=2)) for r in (0, 1)]

    assert shares(2) == [[[0]], [[1]]]
    assert shares(9) == [[[0, 1], [4, 5]], [[2, 3], [6, 7, 8]]]
    assert shares(10) == [[[0, 1], [4, 5], [8]], [[2, 3], [6, 7], [9]]]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"batch_size": 24}, "batch_size 24 is larger than the 23 .*--data.batch_size to 23"),
        ({"batch_size": 6, "world_size": 4}, "6 cannot .* 4 processes: set .*batch_size .* of 4"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"n": 1, "batch_size": 4, "world_size": 2, "shuffle": False}, "1 examples .* 2 proc"),
    ],
)
def test_impossible_batches_are_refused(kwargs, message):
    with pytest.raises(UserError, match=message):
        loader(**kwargs)


def test_the_order_is_made_at_the_first_next_after_set_epoch():
    late, reference = loader(), loader()
    iterator = iter(late)
    late.set_epoch(3)
    reference.set_epoch(3)
    assert next(iterator)[0].tolist() == batches(reference)[0]


def test_state_resumes_with_the_remaining_batches_and_the_own_seed():
    whole = loader()
    whole.set_epoch(2)
    everything = batches(whole)
    iterator = iter(whole)
    for _ in range(3):
        next(iterator)
    state = whole.state_dict()
    resumed = loader(seed=99)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state  # also if it is saved again immediately
    iter(resumed)  # An unused iterator does not advance the position.
    resumed.set_epoch(2)
    assert len(resumed) == 5
    assert batches(resumed) == everything[3:]
    assert batches(resumed) == everything
    resumed.load_state_dict(state)
    resumed.set_epoch(3)
    assert len(batches(resumed)) == 5


def test_a_position_does_not_survive_another_batch_size():
    whole = loader()
    loader(batch_size=5).load_state_dict(whole.state_dict())  # before the first batch
    next(iter(whole))
    with pytest.raises(UserError, match="--data.batch_size 4"):
        loader(batch_size=5).load_state_dict(whole.state_dict())
    batches(whole)
    loader(batch_size=5).load_state_dict(whole.state_dict())  # Between epochs, it may change.


class Numbers(ArrayDataModule):
    """Twenty-two numbered examples."""

    def __init__(self, batch_size: int = 4, offset: int = 0) -> None:
        super().__init__(batch_size, scale=2.0)
        self.offset = offset

    def load_splits(self) -> Splits:
        numbers = torch.arange(22, dtype=torch.uint8)[:, None] + self.offset
        split = Split(numbers, numbers.long())
        return Splits(split, split.take(torch.arange(3)), split)


class Recorder(LightningModule):
    """Records the targets of every training batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer_ = torch.nn.Linear(1, 1)
        self.seen: list[tuple[int, list[int]]] = []

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        inputs, targets = batch
        assert torch.equal(inputs, targets / 2.0)
        self.seen.append((self.trainer.current_epoch, targets[:, 0].tolist()))
        return self.layer_(inputs).mean()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        assert batch[0].dtype == torch.float32

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


class SaveEverywhere(Callback):
    """Saves after every batch and at every epoch's end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        self.save(trainer, "batch")

    def on_validation_end(self, trainer: Trainer, *args: Any) -> None:
        self.save(trainer, "val")

    def on_train_epoch_end(self, trainer: Trainer, *args: Any) -> None:
        self.save(trainer, "epoch")

    def save(self, trainer: Trainer, name: str) -> None:
        trainer.save_checkpoint(self.folder / f"{name}{trainer.global_step}.ckpt")


def fit(
    data: ArrayDataModule, ckpt_path: Path | None = None, **trainer_args: Any
) -> list[tuple[int, list[int]]]:
    model = Recorder()
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    quiet: dict[str, Any] = dict.fromkeys(off, False)
    quiet |= {"accelerator": "cpu", "num_sanity_val_steps": 0}
    Trainer(**quiet, **trainer_args).fit(model, data, ckpt_path=ckpt_path)
    return model.seen


def step_of(checkpoint: Path) -> int:
    return int("".join(filter(str.isdigit, checkpoint.stem)))


@pytest.mark.parametrize("limit", [None, 3])
@pytest.mark.parametrize("budget", [{"max_epochs": 3}, {"max_steps": 8}])
@pytest.mark.filterwarnings("ignore")
def test_a_resumed_trainer_sees_exactly_the_remaining_batches(tmp_path, monkeypatch, limit, budget):
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")
    trainer_args = {"limit_train_batches": limit, **budget}
    whole = fit(Numbers(), callbacks=[SaveEverywhere(tmp_path)], **trainer_args)
    per_epoch = limit or 5
    assert [epoch for epoch, _ in whole] == [i // per_epoch for i in range(len(whole))]
    assert whole[0][1] != whole[per_epoch][1]
    monkeypatch.setenv("PL_GLOBAL_SEED", "4")  # The checkpoint's seed takes precedence.
    saved = sorted(tmp_path.glob("*.ckpt"))
    assert len(saved) > len(whole)
    for path in saved:
        assert fit(Numbers(), path, **trainer_args) == whole[step_of(path) :], path.stem


@pytest.mark.parametrize("budget", [{"max_epochs": 3}, {"max_steps": 14}])
@pytest.mark.filterwarnings("ignore")
def test_a_twice_resumed_trainer_sees_exactly_the_remaining_batches(tmp_path, budget):
    first, second = tmp_path / "first", tmp_path / "second"
    whole = fit(Numbers(), callbacks=[SaveEverywhere(first)], **budget)
    for name in ("epoch5.ckpt", "val5.ckpt", "batch3.ckpt"):
        fit(Numbers(), first / name, callbacks=[SaveEverywhere(second)], **budget)
        for path in sorted(second.glob("*.ckpt")):
            if path.stem in ("batch10", "batch15"):
                continue  # in an epoch's last batch: Lightning 2.6 may repeat that epoch
            assert fit(Numbers(), path, **budget) == whole[step_of(path) :], (name, path.stem)
            path.unlink()


@pytest.mark.filterwarnings("ignore")
def test_training_does_not_resume_on_other_data(tmp_path):
    fit(Numbers(), callbacks=[SaveEverywhere(tmp_path)], max_steps=1)
    with pytest.raises(UserError, match="data.offset 0, this run has 1"):
        fit(Numbers(offset=1), tmp_path / "batch1.ckpt", max_steps=2)


@pytest.mark.filterwarnings("error:You requested to overfit")
@pytest.mark.filterwarnings("ignore:The.*dataloader")
def test_overfit_batches_repeats_one_batch():
    assert [batch for _, batch in fit(Numbers(), overfit_batches=1, max_epochs=3)] == [
        [0, 1, 2, 3]
    ] * 3


def test_a_datamodule_works_without_a_trainer(monkeypatch):
    data = Numbers()
    assert sum(len(inputs) for inputs, _ in data.test_dataloader()) == 22
    assert sum(len(inputs) for inputs, _ in data.predict_dataloader()) == 22
    assert len(data.train_dataloader()) == 5
    assert data.train_dataloader().seed == 0
    monkeypatch.setenv("PL_GLOBAL_SEED", "8")
    assert data.train_dataloader().seed == 8
    assert data.hparams == {"batch_size": 4, "offset": 0, "scale": 2.0}
