"""Truth tables, and noise on the training points alone."""

import operator
from collections.abc import Callable

import pytest
import torch

from datamodules import Gates, Splits
from runtime.errors import UserError

TRUTH: dict[str, Callable[[bool, bool], bool]] = {
    "or": operator.or_,
    "and": operator.and_,
    "xor": operator.ne,
    "xnor": operator.eq,
}


def splits(*args: object, **kwargs: object) -> Splits:
    data = Gates(*args, **kwargs)  # type: ignore[arg-type]
    data.setup()
    assert data.splits is not None
    return data.splits


@pytest.mark.parametrize("gate", TRUTH)
def test_the_four_points_follow_the_truth_table(gate: str) -> None:
    points, targets = splits(gate).test
    assert points.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert points.dtype == torch.float32
    assert targets.dtype == torch.int64
    assert targets.tolist() == [TRUTH[gate](bool(a), bool(b)) for a, b in points.tolist()]


def test_points_repeat_in_training_alone() -> None:
    train, val, test = splits("and", repeat=3)
    assert val is not None
    assert len(train.targets) == 12
    assert torch.equal(train.inputs[4:8], test.inputs)
    assert torch.equal(train.targets[8:], test.targets)
    assert len(val.targets) == len(test.targets) == 4


def test_noise_is_seeded_and_for_training_alone() -> None:
    train, val, test = splits(repeat=500, noise=0.1)
    assert val is not None
    exact = splits(repeat=500)
    noise = train.inputs - exact.train.inputs
    assert 0.095 < noise.std() < 0.105
    assert noise.mean().abs() < 0.01
    assert torch.equal(train.targets, exact.train.targets)
    assert torch.equal(val.inputs, exact.test.inputs)
    assert torch.equal(test.inputs, exact.test.inputs)
    assert torch.equal(splits(repeat=500, noise=0.1).train.inputs, train.inputs)
    other = splits(repeat=500, noise=0.1, noise_seed=1).train.inputs
    assert not torch.equal(other, train.inputs)


@pytest.mark.parametrize("kwargs", [{"gate": "nand"}, {"repeat": 0}, {"noise": -1.0}])
def test_nonsense_is_refused_by_its_key(kwargs: dict[str, object]) -> None:
    with pytest.raises(UserError, match=f"data.{next(iter(kwargs))}"):
        Gates(**kwargs)  # type: ignore[arg-type]


def test_float_inputs_pass_unchanged() -> None:
    data = Gates()
    batch = next(iter(data.test_dataloader()))
    assert data.on_after_batch_transfer(batch, 0)[0] is batch[0]
