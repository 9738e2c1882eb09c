"""Color, translation and cutout in closed form, their gradients, and their random numbers."""

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F

from models import DiffAugment, distributed
from models.gan.diff_augment import cut_out, jitter, translate
from runtime.errors import UserError


def images(count=4, channels=3, height=6, width=10):
    torch.manual_seed(0)
    return torch.rand(count, channels, height, width)


@pytest.mark.parametrize("channels", [1, 3])
def test_color_changes_brightness_saturation_and_contrast_alone(channels):
    before = images(3, channels)
    bright, gray, flat = jitter(before, torch.tensor([[0.4, 0, 0], [0, -1, 0], [0, 0, -1.0]]))
    torch.testing.assert_close(bright, before[0] + 0.1)
    torch.testing.assert_close(gray, before[1].mean(dim=0).expand_as(gray))
    assert flat.mean() == pytest.approx(before[2].mean().item())
    assert flat.std() == pytest.approx(before[2].std().item() / 2)


def test_translation_shifts_by_all_whole_pixels_and_repeats_the_edge():
    before = images(15)  # at most 1 of 6 rows and 2 of 10 columns
    random = torch.cartesian_prod(torch.arange(3) / 3, torch.arange(5) / 5) + 0.1
    moved = translate(before, 0.2, random)
    padded = F.pad(before, [2, 2, 1, 1], mode="replicate")
    shifts = [(y, x) for y in (-1, 0, 1) for x in (-2, -1, 0, 1, 2)]
    for found, whole, (y, x) in zip(moved, padded, shifts, strict=True):
        assert found.equal(whole[:, 1 - y : 7 - y, 2 - x : 12 - x])


def test_a_hole_is_anywhere_and_the_edge_cuts_it():
    before = 0.25 * torch.ones(7 * 11, 3, 6, 10)
    random = torch.cartesian_prod(torch.arange(7) / 7, torch.arange(11) / 11) + 0.01
    hole = cut_out(before, 0.4, random) == 0.5  # 2 x 4 pixels
    assert hole.any(dim=0).all()
    assert hole[7 * 11 // 2].sum() == 3 * 2 * 4
    assert hole[0].nonzero().tolist() == [[c, 0, x] for c in range(3) for x in (0, 1)]


def test_centers_of_holes_are_pixels_or_corners_alike_often():
    """An odd hole is around one of 10 pixels, an even one around one of 11 corners."""
    for size, centers in ((3, 10), (4, 11)):
        before = torch.zeros(centers, 1, 10, 10)
        random = (torch.arange(centers) + 0.5) / centers
        hole = (cut_out(before, size / 10, random[:, None].expand(-1, 2)) == 0.5)[:, 0].any(dim=1)
        first = torch.arange(centers)[:, None] - size // 2
        index = torch.arange(10)
        assert hole.equal((index >= first) & (index < first + size))


def test_gradients_flow_through_all_parts():
    augment = DiffAugment()

    def seeded(pixels):
        torch.manual_seed(1)
        return augment(pixels, 0)

    before = images(3, 3, 4, 5).double().requires_grad_()
    assert torch.autograd.gradcheck(seeded, before)
    assert not seeded(before).equal(before)


def test_each_part_has_random_numbers_of_its_own():
    before = images()
    torch.manual_seed(1)
    random = torch.rand(4, 7)
    changed = translate(jitter(before, 2 * random[:, :3] - 1), 1 / 8, random[:, 3:5])
    expected = cut_out(changed, 1 / 2, random[:, 5:])
    torch.manual_seed(1)
    assert DiffAugment()(before, 0).equal(expected)


def test_two_processes_augment_like_one(monkeypatch):
    def seeded(pixels):
        torch.manual_seed(1)
        return DiffAugment()(pixels, 0)

    whole, parts = seeded(images()), []
    assert not whole[0].equal(seeded(images()[1:])[0])
    monkeypatch.setattr(distributed, "is_distributed", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    for rank, part in enumerate(images().chunk(2)):
        monkeypatch.setattr(dist, "get_rank", lambda rank=rank: rank)
        parts.append(seeded(part))
    assert torch.cat(parts).equal(whole)


def test_points_are_refused():
    with pytest.raises(UserError, match="DiffAugment changes images, .* leave it out"):
        DiffAugment()(torch.rand(4, 2), 0)
