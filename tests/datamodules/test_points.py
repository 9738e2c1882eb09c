"""Points in the plane: their modes, how many of them a model finds, and the pictures of a run."""

import math

import pytest
import torch
from PIL import Image

import cli
import ladder
from datamodules import Points
from datamodules.points import MODES, centers, draw_points
from runtime.errors import UserError
from tests.test_cli import fails


@pytest.mark.parametrize("shape", MODES)
def test_points_fill_the_unit_square_in_all_modes(shape):
    data = Points(shape, labelled=True)
    data.setup()
    points, modes = data.splits.train
    assert points.shape == (8192, 2)
    assert points.min() >= 0
    assert points.max() <= 1
    assert modes.unique().tolist() == list(range(data.num_classes))
    assert not torch.equal(data.splits.val.inputs, data.splits.test.inputs)


def test_modes_that_are_missing_are_counted():
    data = Points("ring")
    data.setup()
    points, modes = data.splits.train
    assert data.mode_coverage(points)[:2] == (8, 8)
    assert data.mode_coverage(points)[2] > 0.99
    assert data.mode_coverage(points[modes < 3])[:2] == (3, 8)
    half = torch.cat([points[modes == 0], torch.full((int((modes == 0).sum()), 2), 0.5)])
    assert data.mode_coverage(half) == (1, 8, pytest.approx(0.5, abs=0.01))
    assert Points("moons").mode_coverage(points) is None


@pytest.mark.parametrize(
    ("name", "more"),
    [("gan", []), ("flow", []), ("drift", []), ("vae", ["--data.labelled=true"])],
)
def test_every_generative_model_draws_points_and_a_film(name, more, tmp_path):
    cli.main([
        "fit", f"--config=configs/points/{name}.yaml", f"--trainer.default_root_dir={tmp_path}",
        "--trainer.max_steps=4", "--samples.min_steps=2", "--data.count=256", *more,
    ])  # fmt: skip
    (figures,) = tmp_path.glob("*/version_0/figures")
    assert {file.name for file in figures.glob("samples*")} == {
        "samples.png", "samples_0000000.png", "samples_0000002.png", "samples_0000004.png",
    }  # fmt: skip
    with Image.open(figures / "training.gif") as film:
        assert film.n_frames == 3
    with pytest.raises(UserError, match="sample draws images, and this run draws points"):
        ladder.sample(figures.parent)


def test_points_and_images_do_not_take_each_others_networks(tmp_path, capsys):
    root = f"--trainer.default_root_dir={tmp_path}"
    assert "ModernGenerator takes images" in fails(
        capsys, "fit", "--model=GAN", "--data=Points", root
    )
    drift = "--config=configs/points/drift.yaml", "--data=Images", "--data.dataset=digits"
    assert "PlaneGenerator takes points in the plane" in fails(capsys, "fit", *drift, root)


def drawn(shape):
    return draw_points(shape, 8192, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("shape", "spread"), [("ring", 0.015), ("grid", 0.01)])
def test_modes_are_gaussians_around_their_centers(shape, spread):
    points, modes = drawn(shape)
    angles = torch.arange(8) * torch.pi / 4
    sides = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])
    known = {
        "ring": 0.5 + 0.35 * torch.stack([angles.cos(), angles.sin()], dim=1),
        "grid": torch.stack([sides.repeat_interleave(5), sides.repeat(5)], dim=1),
    }[shape]
    torch.testing.assert_close(centers(shape), known)
    apart = points - known[modes]
    assert apart.mean(dim=0).abs().max() < spread / 20
    torch.testing.assert_close(apart.std(dim=0), torch.full((2,), spread), rtol=0.05, atol=0)


def test_squares_of_a_checkerboard_meet_at_their_corners():
    points, modes = drawn("checkerboard")
    cells = (4 * points).long()
    assert ((cells.sum(dim=1) % 2) == 0).all()
    assert len(cells.unique(dim=0)) == 8
    assert torch.equal(cells[:, 1], modes // 2)


def test_moons_are_half_circles_that_reach_into_each_other():
    points, modes = drawn("moons")
    middle = torch.tensor([[0.375, 0.4375], [0.625, 0.5625]])[modes]
    assert ((points - middle).norm(dim=1) - 0.25).abs().max() < 5 * 0.015
    above = (points - middle)[:, 1] * (1 - 2 * modes)
    assert above.min() > -5 * 0.015


def test_a_spiral_is_equally_dense():
    radius = (drawn("spiral")[0] - 0.5).norm(dim=1)
    assert radius.max() < 0.42 + 5 * 0.01
    assert (radius < 0.21).float().mean().item() == pytest.approx(0.25, abs=0.02)


def test_a_mode_counts_from_half_of_its_points():
    whole = torch.cat([center.expand(100, 2) for center in centers("ring")])
    for few, expected in ((55, 8), (40, 7)):
        assert Points("ring").mode_coverage(whole[: 700 + few])[0] == expected
    angles = torch.linspace(0, math.tau, 401)[:-1]
    even = 0.5 + 0.35 * torch.stack([angles.cos(), angles.sin()], dim=1)
    assert Points("ring").mode_coverage(even)[0] == 0
