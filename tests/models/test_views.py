"""Views: moved, covered and noisy images for the discriminator."""

import pytest
import torch

from models.gan.tricks import View, translate

IMAGES = torch.rand(64, 3, 8, 12) + 0.1


def test_a_translation_moves_whole_pixels_and_zeros_move_in() -> None:
    torch.manual_seed(0)
    moved = translate(IMAGES, 0.25)  # up to 2 rows and 3 columns
    padded = torch.nn.functional.pad(IMAGES, (3, 3, 2, 2))
    seen = set()
    for place in range(len(IMAGES)):
        (match,) = [
            (top, left)
            for top in range(5)
            for left in range(7)
            if torch.equal(padded[place, :, top : top + 8, left : left + 12], moved[place])
        ]
        seen.add(match)
    assert {top for top, _ in seen} == set(range(5))
    assert {left for _, left in seen} == set(range(7))


def test_a_cutout_is_one_square_at_most_of_its_size() -> None:
    torch.manual_seed(0)
    removed = (View(cutout=0.5)(IMAGES, 0) == 0).all(dim=1)  # in all channels alike
    rows, columns = removed.any(dim=2).sum(dim=1), removed.any(dim=1).sum(dim=1)
    assert torch.equal(removed.sum(dim=(1, 2)), rows * columns)
    assert rows.max() == columns.max() == 4  # half of the shorter side
    assert rows.min() >= 1
    assert rows.unique().numel() > 1  # cut off at the border, so that corners go as well


def test_noise_falls_to_zero() -> None:
    view = View(noise=0.5, noise_steps=100)
    assert [view.deviation(step) for step in (0, 50, 100, 200)] == [0.5, 0.25, 0, 0]
    assert View(noise=0.5).deviation(10**6) == 0.5
    torch.manual_seed(0)
    noise = view(torch.zeros(100, 1, 10, 10), 50)
    assert noise.std().item() == pytest.approx(0.25, rel=0.05)


def test_the_generator_learns_through_every_view() -> None:
    images = IMAGES.clone().requires_grad_()
    View(translation=0.125, cutout=0.25, noise=0.1)(images, 0).sum().backward()
    assert images.grad is not None
    assert set(images.grad.unique().tolist()) == {0.0, 1.0}  # cut out or moved out; the rest counts
