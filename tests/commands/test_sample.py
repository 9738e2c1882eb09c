"""`sample` as a user meets it: what it writes, and what it refuses."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

import ladder
from commands import sample as command
from datamodules import Images
from models import ConditionalGAN
from runtime.errors import UserError
from tests.callbacks.runs import NAMES_PX
from tests.models.gans import small


def arrays(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "samples.npz", allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def test_a_run_folder_is_all_it_needs(cgan, tmp_path):
    drawn = ladder.sample(cgan, 50, out=tmp_path)
    assert drawn.images.shape == (50, 28, 28)
    assert drawn.images.dtype == np.uint8
    assert np.bincount(drawn.labels).tolist() == [5] * 10
    assert ((drawn.scores > 0) & (drawn.scores < 1)).all()
    assert Image.open(tmp_path / "grid.png").size == (NAMES_PX + 5 * 60 + 4, 10 * 60 + 4)
    found = arrays(tmp_path)
    assert found.keys() == {"images", "labels", "scores", "seed"}
    assert np.array_equal(found["images"], drawn.images)


def test_a_checkpoint_alone_is_enough_without_data(cgan, tmp_path):
    moved = shutil.copy(cgan / "checkpoints" / "last.ckpt", tmp_path / "moved.ckpt")
    drawn = ladder.sample(moved, 20, ["3", "1"], seed=7, out=tmp_path / "moved")
    same = ladder.sample_images(ladder.load(cgan), 20, [3, 1], seed=7)
    assert np.array_equal(drawn.images, same.images)


def test_an_earlier_grid_is_kept(cgan, capsys):
    ladder.sample(cgan, 3)
    before = (cgan / "samples" / "grid.png").read_bytes()
    ladder.sample(cgan, 300, seed=1)
    assert (cgan / "samples" / "grid.png").read_bytes() == before
    assert (cgan / "samples_2" / "grid.png").is_file()
    lines = capsys.readouterr().out.splitlines()
    assert re.match(r"Run: .*, step \d+, \d+ (minutes?|hours?) old\.", lines[0])
    assert lines[-1].endswith("grid.png: 100 images, of 300 in samples.npz")


def test_the_same_seed_gives_the_same_images():
    model = small()
    first = command.sample_images(model, 20).images
    assert np.array_equal(first, command.sample_images(model, 20).images)
    assert np.array_equal(first[:7], command.sample_images(model, 7).images)
    assert not np.array_equal(first, command.sample_images(model, 20, seed=1).images)
    assert command.sample_images(model, 2).labels is None


def test_classes_are_drawn_in_turn_and_shown_in_rows(cgan, tmp_path):
    drawn = ladder.sample(
        cgan,
        8,
        ["3", "1"],
        between=["3", "8"],
        interpolate=True,
        neighbors=6,
        gif=True,
        out=tmp_path,
    )
    assert drawn.labels.tolist() == [3, 1] * 4
    assert Image.open(tmp_path / "grid.png").size == (NAMES_PX + 2 * (4 * 30 + 2), 2 * (2 * 30 + 2))
    assert (tmp_path / "between_3_8.png").is_file()
    assert Image.open(tmp_path / "training.gif").n_frames >= 2


def test_classes_are_chosen_by_name(cgan):
    model = ladder.load(cgan)
    names = (*(f"animal {k}" for k in range(9)), "cat")
    model.input_spec = model.input_spec._replace(class_names=names)
    assert command.class_numbers("classes", ["cat", 0, "3"], model) == [9, 0, 3]
    with pytest.raises(UserError, match="--classes: cow is not one of 0, 1, .*, 9, animal 0, "):
        command.class_numbers("classes", ["cow"], model)
    with pytest.raises(UserError, match="is unconditional"):
        command.class_numbers("classes", [1], small())


def test_a_class_that_is_given_twice_is_drawn_twice_as_often(cgan):
    labels = ladder.sample_images(ladder.load(cgan), 20, [3, 1, 4, 1, 5]).labels
    assert np.bincount(labels).tolist() == [0, 8, 0, 4, 4, 4]


@pytest.mark.parametrize("classes", [[3], [3, 1]])
def test_scores_select(cgan, classes):
    model = ladder.load(cgan)
    drawn = ladder.sample_images(model, 500, classes)
    medians = [float(np.median(drawn.scores[drawn.labels == k])) for k in classes]
    good = ladder.sample_images(model, 30, classes, min_score=min(medians))
    bad = ladder.sample_images(model, 30, classes, max_score=max(medians))
    assert len(good.scores) == len(bad.scores) == len(good.images) == 30
    assert good.scores.min() >= min(medians)
    assert bad.scores.max() <= max(medians)
    assert np.bincount(good.labels)[classes].tolist() == [30 // len(classes)] * len(classes)


def test_too_few_that_pass_are_said(cgan, capsys):
    model = ladder.load(cgan)
    scores = ladder.sample_images(model, 200).scores
    assert len(ladder.sample_images(model, 2, min_score=float(scores.max())).images) == 1
    assert "Only 1 images pass --min_score" in capsys.readouterr().out


MISTAKES = {
    "no image passes --min_score 1 and --max_score 1 of ": {"min_score": 1.0, "count": 1},
    "--between takes two classes, such as": {"between": ["3"]},
    "--classes: 11 is not one of 0, 1": {"classes": ["11"]},
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_refused_sample_leaves_no_files(text, cgan, tmp_path):
    with pytest.raises(UserError, match=text):
        ladder.sample(cgan, out=tmp_path / "out", **MISTAKES[text])
    assert not (tmp_path / "out").exists()


def test_a_great_circle_keeps_the_length():
    start, end = torch.eye(2)
    halfway = command.slerp(start[None], end[None], torch.tensor(0.5))[0]
    torch.testing.assert_close(halfway, torch.full((2,), 0.5**0.5))


def test_uniform_latents_move_along_a_line_which_stays_in_their_range(tmp_path, monkeypatch):
    model, seen = small(latent="uniform", latent_dim=100), list[Any]()
    real = command.sampling.generate
    monkeypatch.setattr(command.sampling, "generate", lambda *a: seen.append(a[1]) or real(*a))
    command.write_interpolation(tmp_path / "way.png", model, 0, [], [])
    way = seen[0].unflatten(0, (-1, command.PER_ROW)).movedim(1, 0)
    shares = torch.linspace(0, 1, len(way))[:, None, None]
    torch.testing.assert_close(way, torch.lerp(way[0], way[-1], shares))


def test_rows_lead_from_the_first_class_to_the_second(tmp_path, monkeypatch):
    seen: list[Any] = []
    real = command.sampling.generate
    monkeypatch.setattr(command.sampling, "generate", lambda *a: seen.append(a[1:]) or real(*a))
    titles: list[str] = []
    whole = command.mosaic
    monkeypatch.setattr(command, "mosaic", lambda *a, **k: titles.append(a[3]) or whole(*a, **k))
    model, names = small(ConditionalGAN), [f"k{k}" for k in range(10)]
    command.write_between_classes(tmp_path / "between.png", model, 0, [3, 8], names)
    assert titles == ["From class k3 (left) to class k8 (right), one latent in each row"]
    latents, classes = (part.unflatten(0, (5, 10)) for part in seen[0])
    assert (latents == latents[:, :1]).all()
    assert classes[:, 0].argmax(dim=1).tolist() == [3] * 5
    assert classes[:, -1].argmax(dim=1).tolist() == [8] * 5
    torch.testing.assert_close(classes[:, 3, 8], torch.full((5,), 1 / 3))


def test_the_newest_run_is_called_last(cgan, tmp_path, monkeypatch):
    shutil.copytree(cgan, tmp_path / "runs/cgan/version_0")
    monkeypatch.chdir(tmp_path)
    ladder.sample(Path("last"), 2, out=tmp_path / "out")  # as the command line gives it
    assert (tmp_path / "out/grid.png").is_file()


def test_without_its_data_a_run_is_sampled_and_neighbors_are_not_drawn(cgan, tmp_path, monkeypatch):
    def missing(*_: object) -> None:
        raise UserError("there is no MNIST")

    monkeypatch.setattr("results.Run.data", missing)
    with pytest.warns(UserWarning, match=r"No neighbors\.png: there is no MNIST"):
        ladder.sample(cgan, 2, neighbors=2, out=tmp_path)
    assert (tmp_path / "grid.png").is_file()
    assert not (tmp_path / "neighbors.png").exists()


def test_neighbors_are_looked_for_among_training_images(cgan, tmp_path, monkeypatch):
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(command, "write_neighbors", lambda path, images, data: seen.append(data))
    ladder.sample(cgan, 2, neighbors=2, out=tmp_path)
    data = Images("digits")
    data.setup()
    assert torch.equal(seen[0], data.splits.train.inputs)


def test_copies_of_training_images_are_their_nearest(tmp_path, monkeypatch):
    train = torch.randint(0, 256, (20, 1, 8, 8), dtype=torch.uint8)
    seen: dict[str, Any] = {}
    monkeypatch.setattr(command, "mosaic", lambda *args, **_: seen.update(rows=args[0]) or Figure())
    command.write_neighbors(tmp_path / "neighbors.png", train[[7, 3], 0].numpy(), train)
    assert torch.equal(seen["rows"][[0, 6]], train[[7, 3]])
    assert torch.equal(seen["rows"][[1, 7]], train[[7, 3]])
