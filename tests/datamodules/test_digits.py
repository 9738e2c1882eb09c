"""The embedded digits look as MNIST's do."""

import pytest
import sklearn.datasets
import torch

from datamodules.digits import as_mnist_digits, load_digits

MNIST_BRIGHTNESS = 0.1307  # mean of its training pixels


def test_digits_are_in_range_and_split_evenly():
    train, test = load_digits()
    assert train.inputs.shape == (1437, 1, 28, 28)
    assert test.inputs.shape == (360, 1, 28, 28)
    assert train.inputs.dtype == torch.uint8
    assert train.inputs.max() == 255
    assert train.inputs.min() == 0
    assert 34 <= test.targets.bincount().min() <= test.targets.bincount().max() <= 38
    both = torch.cat([train.inputs, test.inputs]).flatten(1)
    assert len(both.unique(dim=0)) == 1797  # disjoint: every digit once


def test_digits_are_framed_as_mnist_frames_its_digits():
    train, _ = load_digits()
    images = train.inputs.float() / 255
    assert images.mean().item() == pytest.approx(MNIST_BRIGHTNESS, rel=0.05)
    share_of_gray = ((images > 0.1) & (images < 0.9)).float().mean() / (images > 0.1).float().mean()
    assert share_of_gray < 0.65  # of a blur: 0.9
    places = torch.arange(28.0)
    for side in (2, 3):
        mass = images.sum(dim=[d for d in (1, 2, 3) if d != side])
        center = (mass * places).sum(dim=1) / mass.sum(dim=1)
        assert (center - 13.5).abs().max() <= 0.51  # moved by whole pixels


def test_digits_are_those_of_scikit_learn_stratified():
    train, test = load_digits()
    digits = sklearn.datasets.load_digits()
    shares = test.targets.bincount() - 0.2 * torch.from_numpy(digits.target).bincount()
    assert shares.abs().max() < 1
    small = torch.from_numpy(digits.images[:1, None]).float() / 16
    first = (as_mnist_digits(small) * 255).round().byte()
    assert any((split.inputs == first).all(dim=(1, 2, 3)).any() for split in (train, test))
