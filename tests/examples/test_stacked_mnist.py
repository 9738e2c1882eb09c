"""Stacked images: their modes, their balance, their images, and a run of a few steps."""

import pytest
import torch

from datamodules import Images, Split, Splits
from examples.stacked_mnist.data import StackedImages, make_stacks
from examples.stacked_mnist.modes import count_modes, coverage
from metrics.judge import load_judge
from tests.test_cli import run


@pytest.fixture(autouse=True)
def _few_stacks(monkeypatch):
    monkeypatch.setattr("examples.stacked_mnist.data.NUM_EVAL", 1000)


CONFIG = "--config=examples/stacked_mnist/config.yaml"


def splits_of(data: Images) -> Splits:
    data.setup()
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
def test_a_mode_names_the_classes_of_red_green_and_blue(balanced):
    images, modes = make_stacks(numbered(), 2000, (0, 0), balanced)
    assert (images.shape, images.dtype) == ((2000, 3, 2, 2), torch.uint8)
    red, green, blue = images[:, :, 1, 0].long().T
    assert torch.equal(modes, 100 * red + 10 * green + blue)
    each = [torch.equal(part.sort().values, torch.arange(1000)) for part in modes.chunk(2)]
    assert each == [balanced, balanced]
    few = make_stacks(numbered(), 1000, (0, 0), balanced)
    assert balanced or torch.equal(few.targets, modes[:1000])


def test_a_perfect_sampler_reaches_all_modes_and_the_divergence_of_chance():
    """It is chi-squared with 999 degrees of freedom, over 52,000: 0.0192, deviation 0.0009."""
    drawn = make_stacks(numbered(), 26_000, (0, 0)).targets.bincount(minlength=1000)
    real = make_stacks(numbered(), 5000, (0, 2), balanced=True).targets.bincount(minlength=1000)
    found = coverage(drawn, real)
    assert found.modes == 1000
    assert found.kl == pytest.approx(999 / 52_000, abs=0.004)


def test_a_judge_of_gray_images_sees_the_modes_of_stacks_of_one_split_each():
    data = StackedImages("digits", num_train=500)
    stacked, gray = splits_of(data), splits_of(Images("digits"))
    assert (data.judge, data.channel_judge, data.num_classes) == (None, "digits", None)
    parts = [channels(split) for split in stacked if split]
    assert [len(split.targets) for split in stacked if split] == [500, 1000, 1000]
    for part, split in zip(parts, gray, strict=True):
        assert part <= channels(split)
    assert parts[0].isdisjoint(parts[1] | parts[2])
    counts = count_modes(load_judge("digits"), stacked.train.inputs)
    expected = stacked.train.targets.bincount(minlength=1000)
    assert (counts - expected).abs().sum() < 0.2 * 2 * 500  # the judge errs on some channels


@pytest.mark.filterwarnings("ignore")
def test_the_config_trains_and_counts_modes(in_root, tmp_path, capsys):
    few = ["--data.dataset=digits", "--data.num_train=100", "--data.batch_size=8"]
    root = f"--trainer.default_root_dir={tmp_path}"
    quiet = ["--trainer.limit_val_batches=0", "--trainer.max_steps=2"]
    run("fit", CONFIG, *few, *quiet, root)
    path = f"--ckpt_path={tmp_path / 'stacked_mnist'}"
    samples = ["--trainer.callbacks.samples=100", "--trainer.limit_test_batches=1"]
    run("test", CONFIG, *few, path, root, *samples)
    assert "Modes of 100 stacks: " in capsys.readouterr().out
