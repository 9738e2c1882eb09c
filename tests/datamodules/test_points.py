"""Points in the plane: their modes, how many of them a model finds, and the pictures of a run."""

import pytest
import torch
from PIL import Image

import cli
import ladder
from datamodules import Points
from datamodules.points import MODES
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
    assert data.found(points)[:2] == (8, 8)
    assert data.found(points)[2] > 0.99
    assert data.found(points[modes < 3])[:2] == (3, 8)
    half = torch.cat([points[modes == 0], torch.full((int((modes == 0).sum()), 2), 0.5)])
    assert data.found(half) == (1, 8, pytest.approx(0.5, abs=0.01))
    assert Points("moons").found(points) is None


@pytest.mark.parametrize(
    ("name", "more"),
    [("gan", []), ("flow", []), ("drift", []), ("vae", []), ("vae", ["--data.labelled=true"])],
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
