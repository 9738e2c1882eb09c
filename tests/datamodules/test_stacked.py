"""Stacked images: their modes, their balance, and the images that they are made of."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from datamodules import Images, Split, Splits, StackedImages
from datamodules.stacked import NUM_EVAL, make_stacks
from metrics.labels import mode_coverage


def splits_of(data: Images) -> Splits:
    data.setup()
    assert data.splits is not None
    return data.splits


def channels(split: Split) -> set[bytes]:
    """Returns the different images among all channels."""
    return {image.numpy().tobytes() for image in split.inputs.flatten(0, 1).unique(dim=0)}


def numbered(copies: int = 1) -> Split:
    """Images (N, 1, 2, 2) of classes 9 to 0; the pixels are the class, plus 10 for each copy."""
    labels = torch.arange(9, -1, -1).repeat(copies)
    pixels = labels + 10 * torch.arange(copies).repeat_interleave(10)
    return Split(pixels.byte()[:, None, None, None].expand(-1, 1, 2, 2), labels)


@pytest.mark.parametrize("balanced", [True, False])
def test_a_mode_names_the_classes_of_red_green_and_blue(balanced: bool) -> None:
    images, modes = make_stacks(numbered(), 2000, (0, 0), balanced)
    assert images.shape == (2000, 3, 2, 2)
    assert images.dtype == torch.uint8
    red, green, blue = images[:, :, 1, 0].long().T
    assert torch.equal(modes, 100 * red + 10 * green + blue)
    assert images.float().std(dim=(2, 3)).max() == 0  # no channel mixes images


def test_each_thousand_balanced_stacks_have_every_mode_in_another_order() -> None:
    first, second = make_stacks(numbered(), 2000, (0, 1), balanced=True).targets.chunk(2)
    assert torch.equal(first.sort().values, torch.arange(1000))
    assert torch.equal(second.sort().values, torch.arange(1000))
    assert not torch.equal(first, second)
    assert not torch.equal(first, torch.arange(1000))


def test_all_images_of_a_class_are_equally_likely_in_every_channel() -> None:
    images, _ = make_stacks(numbered(copies=4), 6000, (0, 0))
    for channel in images[:, :, 0, 0].long().T:
        counts = channel.bincount(minlength=40)  # 150 of each of 40 images, deviation 12
        assert counts.min() > 100
        assert counts.max() < 200


def test_a_stack_depends_on_its_number_and_the_seed_alone() -> None:
    many = make_stacks(numbered(copies=4), 3000, (5, 0))
    few = make_stacks(numbered(copies=4), 7, (5, 0))
    assert torch.equal(few.inputs, many.inputs[:7])
    assert torch.equal(few.targets, many.targets[:7])
    for seed in ((5, 1), (6, 0)):
        assert not torch.equal(make_stacks(numbered(copies=4), 7, seed).targets, few.targets)


def test_a_perfect_sampler_reaches_all_modes_and_the_divergence_of_chance() -> None:
    """It is chi-squared with 999 degrees of freedom, over 52,000: 0.0192, deviation 0.0009."""
    drawn = make_stacks(numbered(), 26_000, (0, 0)).targets.bincount(minlength=1000)
    real = make_stacks(numbered(), NUM_EVAL, (0, 2), balanced=True).targets.bincount(minlength=1000)
    assert real.unique().tolist() == [10]
    found = mode_coverage(drawn, real)
    assert found.modes == 1000
    assert found.kl == pytest.approx(999 / 52_000, abs=0.004)


def test_the_stacks_of_a_split_contain_images_of_that_split_alone() -> None:
    grey, stacked = splits_of(Images("digits")), splits_of(StackedImages("digits", num_train=2000))
    assert grey.val is not None
    assert stacked.val is not None
    assert [len(split.targets) for split in stacked if split] == [2000, NUM_EVAL, NUM_EVAL]
    parts = [channels(split) for split in stacked if split]
    for split, part in zip(grey, parts, strict=True):
        assert split is not None
        assert len(part) > 0.9 * len(split.targets)
        assert part <= channels(split)
    assert parts[0].isdisjoint(parts[1])
    assert parts[0].isdisjoint(parts[2])
    assert parts[1].isdisjoint(parts[2])


def test_stacks_do_not_depend_on_the_seed_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    first = splits_of(StackedImages("digits", num_train=100))
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    torch.manual_seed(7)
    second = splits_of(StackedImages("digits", num_train=100))
    other = splits_of(StackedImages("digits", num_train=100, split_seed=1))
    for mine, same, different in zip(first, second, other, strict=True):
        assert mine is not None
        assert same is not None
        assert different is not None
        assert torch.equal(mine.inputs, same.inputs)
        assert torch.equal(mine.targets, same.targets)
        assert not torch.equal(mine.targets, different.targets)


def test_auto_stacks_what_images_finds(tmp_path: Path, tiny: Callable[..., None]) -> None:
    missing = StackedImages("auto", str(tmp_path), num_train=10)
    missing.prepare_data()
    with pytest.warns(UserWarning, match="MNIST WAS NOT FOUND"):
        missing.setup()
    assert missing.fell_back
    assert (missing.judge, missing.identity()["dataset"]) == ("digits", "digits in MNIST's frame")
    tiny(tmp_path / "MNIST" / "raw", pixel=9)
    found = StackedImages("auto", str(tmp_path), val_fraction=0.5, num_train=10)
    assert splits_of(found).train.inputs[0, :, 0, 0].tolist() == [9, 9, 9]
    assert not found.fell_back
    assert (found.judge, found.dataset_found) == ("mnist", "mnist")
    assert StackedImages("fashion").class_names is None


def test_no_validation_images_are_no_validation_stacks() -> None:
    data = StackedImages("digits", val_fraction=0, num_train=10)
    assert splits_of(data).val is None
    assert data.val_dataloader() == []
