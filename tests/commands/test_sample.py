"""`sample` as a user meets it: what it writes, and what it says to a mistake."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ladder
from commands.sample import _save, numbers_of
from tests.callbacks.runs import NAMES_PX
from tests.conftest import ROOT
from tests.datamodules.pictures import write_classes
from tests.models.gans import WIDTH_2
from tests.test_cli import DIGITS, fails, run

QUIET = ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]


def train(root: Path, model: str, *args: str) -> Path:
    """A few steps of a small model; the run's folder."""
    steps = ["--trainer.max_steps=2", "--trainer.limit_val_batches=0", *QUIET]
    run("fit", f"--model={model}", *args, *DIGITS, *steps, f"--trainer.default_root_dir={root}")
    return root / model.lower() / "version_0"


@pytest.fixture(scope="module")
def cgan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("runs"), "ConditionalGAN", *WIDTH_2)


@pytest.fixture(scope="module")
def gan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("runs"), "GAN", *WIDTH_2)


def sample(ckpt: Path | str, out: Path, *args: str) -> dict[str, np.ndarray]:
    run("sample", f"--ckpt_path={ckpt}", f"--out={out}", *QUIET, *args)
    with np.load(out / "samples.npz", allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def test_a_run_folder_is_all_it_needs(cgan: Path, tmp_path: Path) -> None:
    drawn = sample(cgan, tmp_path, "--count=50")
    assert drawn["images"].shape == (50, 28, 28)
    assert drawn["images"].dtype == np.uint8
    assert np.bincount(drawn["labels"]).tolist() == [5] * 10
    assert ((drawn["scores"] > 0) & (drawn["scores"] < 1)).all()
    assert drawn["seed"] == 0
    assert Image.open(tmp_path / "grid.png").size == (NAMES_PX + 5 * 60 + 4, 10 * 60 + 4)


def test_a_checkpoint_alone_is_enough(cgan: Path, tmp_path: Path) -> None:
    moved = shutil.copy(cgan / "checkpoints" / "last.ckpt", tmp_path / "moved.ckpt")
    root = f"--trainer.default_root_dir={tmp_path}"
    drawn = sample(moved, tmp_path / "moved", "--count=20", root)
    expected = sample(cgan, tmp_path / "run", "--count=20")
    assert np.array_equal(drawn["images"], expected["images"])


def test_sampling_does_not_build_the_data_set(cgan: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(cgan, tmp_path / "experiment" / "run", symlinks=True)
    config = (elsewhere / "config.yaml").read_text()
    (elsewhere / "config.yaml").write_text(config.replace("scale: 255.0", "scale: -1.0"))
    assert len(sample(elsewhere, tmp_path / "out", "--count=20")["images"]) == 20
    with pytest.raises(SystemExit):  # the data set refuses this scale
        sample(elsewhere, tmp_path / "out", "--neighbors=1")


def test_an_unconditional_gan_has_no_labels(gan: Path, tmp_path: Path) -> None:
    drawn = sample(gan, tmp_path, "--count=7", "--interpolate=linear")
    assert drawn.keys() == {"images", "scores", "seed"}
    assert (tmp_path / "interpolation.png").is_file()


def test_the_same_seed_gives_the_same_images(cgan: Path, tmp_path: Path) -> None:
    first, again = (sample(cgan, tmp_path / name, "--count=20") for name in "ab")
    other = sample(cgan, tmp_path / "c", "--count=20", "--seed=1")
    assert np.array_equal(first["images"], again["images"])
    assert not np.array_equal(first["images"], other["images"])


def test_classes_are_drawn_in_the_order_asked_for(cgan: Path, tmp_path: Path) -> None:
    run("sample", "--ckpt_path", str(cgan), "--classes", "3", "1", "--count", "8",
        "--out", str(tmp_path), *QUIET)  # fmt: skip
    labels = np.load(tmp_path / "samples.npz")["labels"]
    assert labels.tolist() == [3, 1] * 4
    assert Image.open(tmp_path / "grid.png").size == (NAMES_PX + 6 * (4 * 30 + 2), 6 * (2 * 30 + 2))


def test_classes_are_chosen_and_shown_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_classes(tmp_path / "pets", count=16)
    data = [f"--data.path={tmp_path / 'pets'}", "--data.size=28", "--data.batch_size=8"]
    steps = ["--trainer.max_steps=1", "--trainer.limit_val_batches=0", *QUIET]
    own = ["--model=ConditionalGAN", *WIDTH_2, "--data=ImageFolder", *data, *steps]
    run("fit", *own, f"--trainer.default_root_dir={tmp_path}")
    ckpt = tmp_path / "conditionalgan" / "version_0"
    drawn = sample(ckpt, tmp_path / "out", "--count=4", "--classes", "dog", "cat")
    assert drawn["labels"].tolist() == [1, 0, 1, 0]
    sample(ckpt, tmp_path / "out", "--count=4", "--classes=[1]", "--between", "cat", "dog")
    assert (tmp_path / "out" / "between_0_1.png").exists()
    line = fails(capsys, "sample", f"--ckpt_path={ckpt}", "--classes", "cow", *QUIET)
    assert line == "error: --classes: cow is not one of 0 to 1 or cat, dog"
    model = ladder.load(ckpt)
    assert ladder.sample(model, 2, ["dog"]).labels.tolist() == [1, 1]  # type: ignore[union-attr]
    assert numbers_of("classes", ["dog", 0], model) == [1, 0]


def test_every_picture_can_be_asked_for(cgan: Path, tmp_path: Path) -> None:
    args = ["--interpolate=spherical", "--between=[3,8]", "--neighbors=4", "--gif=true"]
    sample(cgan, tmp_path, "--count=20", *args)
    found = {path.name for path in tmp_path.iterdir()}
    pictures = {"interpolation.png", "between_3_8.png", "neighbors.png", "training.gif"}
    assert found == {"grid.png", "samples.npz"} | pictures


def test_scores_select(cgan: Path, tmp_path: Path) -> None:
    one = ["--classes=[3]"]
    scores = sample(cgan, tmp_path / "all", "--count=500", *one)["scores"]
    middle = float(np.median(scores))
    good = sample(cgan, tmp_path / "good", "--count=30", f"--min_score={middle}", *one)
    bad = sample(cgan, tmp_path / "bad", "--count=30", f"--max_score={middle}", *one)
    assert len(good["scores"]) == len(bad["scores"]) == 30
    assert good["scores"].min() >= middle >= bad["scores"].max()
    assert set(good["labels"]) == {3}


def test_too_few_that_pass_are_written_with_a_warning(cgan: Path, tmp_path: Path) -> None:
    scores = sample(cgan, tmp_path / "all", "--count=500")["scores"]
    high = float(np.sort(scores)[-3])
    with pytest.warns(UserWarning, match=r"Only \d+ of the 100 images wanted pass --min_score"):
        found = sample(cgan, tmp_path, f"--min_score={high}", "--count=100", "--max_tries=5")
    assert 1 <= len(found["scores"]) <= 3


MISUSE = {
    "no checkpoint": (["--ckpt_path=nowhere"], "no such file or folder"),
    "wrong class": (["--classes", "3", "12"], "--classes: 12 is not one of 0 to 9"),
    "three ends": (["--between=[1,2,3]"], "--between takes two classes"),
    "no images": (["--count=0"], "--count is 0"),
    "score that nothing reaches": (
        ["--min_score=1.0", "--max_tries=2"],
        "no image passes --min_score 1.0 in 200 tries",
    ),
    "unwritable folder": (["--out=/proc/nowhere"], "cannot be written to"),
    "unknown way": (["--interpolate=cubic"], "interpolate"),
}


@pytest.mark.parametrize("mistake", MISUSE)
def test_a_mistake_is_one_line(
    mistake: str, cgan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args, expected = MISUSE[mistake]
    defaults = [f"--ckpt_path={cgan}", f"--out={tmp_path}"]
    given = [a.split("=")[0] for a in args]
    kept = [a for a in defaults if a.split("=")[0] not in given]
    assert expected in fails(capsys, "sample", *kept, *QUIET, *args)


def test_only_a_gan_is_sampled_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = train(tmp_path, "ImageClassifier", "--model.network.width=2")
    line = fails(capsys, "sample", f"--ckpt_path={folder}", *QUIET)
    assert "sample draws from a GAN, but this checkpoint is of ImageClassifier" in line


def test_classes_are_for_conditional_gans(gan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = fails(capsys, "sample", f"--ckpt_path={gan}", "--classes", "3", *QUIET)
    assert "--classes selects classes, but GAN is unconditional" in line


def test_best_needs_a_scored_run(cgan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no best.ckpt below" in fails(capsys, "sample", f"--ckpt_path={cgan}/best", *QUIET)


def test_colours_reach_the_file(tmp_path: Path) -> None:
    pixels = torch.arange(24, dtype=torch.uint8).view(2, 3, 2, 2)
    with np.load(_save(tmp_path, {"images": pixels, "scores": torch.rand(2)}, 0)) as arrays:
        assert arrays["images"][1, 0, 1].tolist() == pixels[1, :, 0, 1].tolist()


@pytest.mark.slow
@pytest.mark.ddp
@pytest.mark.parametrize("count", [30, 1100])  # fewer and more blocks than processes
def test_two_processes_draw_what_one_draws(count: int, cgan: Path, tmp_path: Path) -> None:
    alone = sample(cgan, tmp_path / "alone", f"--count={count}")
    command = ["sample", f"--ckpt_path={cgan}", f"--out={tmp_path / 'both'}", f"--count={count}"]
    both = ["--trainer.devices=2", "--trainer.strategy=ddp", *QUIET]
    subprocess.run([sys.executable, "cli.py", *command, *both], cwd=ROOT, check=True, timeout=120)
    with np.load(tmp_path / "both" / "samples.npz") as drawn:
        difference = drawn["images"].astype(int) - alone["images"].astype(int)
        assert abs(difference).max() <= 1  # a rounding of 255ths
        assert np.array_equal(drawn["labels"], alone["labels"])


def test_a_class_named_twice_is_drawn_once(cgan: Path, tmp_path: Path) -> None:
    drawn = sample(cgan, tmp_path, "--count=30", "--classes", "3", "3", "1")
    assert np.bincount(drawn["labels"]).tolist() == [0, 15, 0, 15]


@pytest.mark.parametrize(("option", "least"), [("count", 1), ("max_tries", 1), ("seed", 0)])
def test_a_number_that_is_too_small_is_one_line(
    cgan: Path, capsys: pytest.CaptureFixture[str], option: str, least: int
) -> None:
    line = fails(capsys, "sample", f"--ckpt_path={cgan}", f"--{option}={least - 1}", *QUIET)
    assert line.startswith(f"error: --{option}: expected a number >")
