"""A full or read-only disk is one line, and after it the run goes on to the same bits."""

import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from callbacks import samples
from runtime.checkpoints import problem_of
from tests.faults import runs
from tests.faults.disks import fill, make_room, read_only, small_disk
from tests.faults.ledger import Ledger, Row, rounds

Uninterrupted = Callable[..., tuple[Path, float]]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as folder:
        yield folder


def full_at(disk: Path, name: str, count: int) -> None:
    """Fills the disk when the n-th file whose path contains `name` is opened to be written."""

    def act(stream: Any) -> Any:
        fill(disk)
        return stream

    runs.on_write(name, act, count)


def full_before(disk: Path, owner: Any, name: str, count: int) -> None:
    """Fills the disk before the n-th call of a function."""
    real, left = getattr(owner, name), [count]

    def called(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            fill(disk)
        return real(*args, **kwargs)

    setattr(owner, name, called)


GAN_FILES: dict[str, Callable[[Path, int], None]] = {
    "config.yaml": lambda disk, n: full_at(disk, "config.partial.yaml", 1),
    "metrics.csv": lambda disk, n: full_at(disk, "metrics.csv", 1),
    "checkpoint": lambda disk, n: full_before(disk, torch, "save", n),
    "figure": lambda disk, n: full_at(disk, ".png", 2 * n),
    "TensorBoard": lambda disk, n: full_before(disk, samples, "log_picture", n),
}
CLASSIFIER_FILES: dict[str, Callable[[Path, int], None]] = {
    "metrics.json": lambda disk, n: full_at(disk, "metrics.partial.json", 1),
    "figure of the end": lambda disk, n: full_at(disk, "confusion", 1),
}


@pytest.mark.parametrize("kind", ["GAN", "classifier"])
def test_a_full_disk_stops_a_run_and_loses_nothing(
    kind: str,
    tmp_path: Path,
    disk: Path,
    uninterrupted: Uninterrupted,
    ledger: Ledger,
) -> None:
    """One run meets a full disk at each kind of file in turn."""
    files = GAN_FILES if kind == "GAN" else CLASSIFIER_FILES
    whole, _ = uninterrupted(kind)
    repeats = rounds(full=4, short=1)
    for n in range(1, repeats + 1):
        root = disk / str(n)
        for name, fault in files.items():
            started = runs.start(root, kind, fault=partial(fault, disk, n), logs=tmp_path)
            line = runs.fails(started, tmp_path)
            assert str(root) in line, (name, line)
            assert re.search(r"No space left.*MB are free|MB are free.*No space left", line), line
            assert "--ckpt_path last" in line
            for path in root.glob("run/*/checkpoints/[!.]*.ckpt"):
                assert not problem_of(path), (name, path)
            make_room(disk)
        runs.finish(runs.start(root, kind, logs=tmp_path), tmp_path)
        runs.check_equal(root, whole)
    for name in files:
        ledger.add(Row(f"disk full at {name}", repeats))


COMMANDS = {  # the file that meets the full disk, and the command
    "comparison.csv": ("classifier", "compare"),
    "predictions.csv": ("classifier", "predict", "--data=Images", "--data.dataset=digits"),
    "samples.npz": ("GAN", "sample", "--count=4"),
    "grid.png": ("GAN", "sample", "--count=4"),
    "classifier.onnx": ("classifier", "export", "--format=onnx"),
}


def copy_of(uninterrupted: Uninterrupted, kind: str, folder: Path) -> Path:
    """Copies the folder of a run without faults."""
    source = runs.folder_of(uninterrupted(kind)[0])
    return Path(shutil.copytree(source, folder, symlinks=True))


@pytest.mark.parametrize("name", [*COMMANDS][: rounds(full=5, short=3)])
def test_a_full_disk_stops_a_command(
    name: str, tmp_path: Path, disk: Path, uninterrupted: Uninterrupted, ledger: Ledger
) -> None:
    if name.endswith(".onnx") and not (find_spec("onnx") and find_spec("onnxscript")):
        pytest.skip("export to ONNX needs the extra [export]")
    kind, *args = COMMANDS[name]
    run = copy_of(uninterrupted, kind, disk / "run")
    where = [str(run), str(run), "--out", str(disk)] if args[0] == "compare" else []
    args += where or [f"--ckpt_path={run}", "--trainer.accelerator=cpu"]
    stem, dot, suffix = name.partition(".")
    fault = partial(full_at, disk, f"{stem}.partial{dot}{suffix}", 1)
    line = runs.fails(runs.command(tmp_path, *args, fault=fault), tmp_path)
    assert name in line
    assert "No space left" in line
    assert not [*disk.rglob("*.partial*")]
    make_room(disk)
    runs.finish(runs.command(tmp_path, *args), tmp_path)
    assert [*disk.rglob(name)]
    ledger.add(Row(f"disk full at {name}", 1))


def pictures(folder: Path) -> Path:
    """Makes a folder of two classes of ten small images each."""
    chance = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for i in range(10):
            pixels = chance.integers(0, 255, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def train_on(folder: Path, root: Path) -> list[str]:
    return [
        "fit", *runs.MODELS["classifier"], "--data=ImageFolder", f"--data.path={folder}",
        "--data.size=16", "--data.channels=1", "--data.batch_size=4",
        f"--trainer.default_root_dir={root}", "--trainer.max_steps=2",
        "--trainer.accelerator=cpu", "--experiment=run",
    ]  # fmt: skip


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_a_run_reads_images_on_a_disk_that_takes_no_cache(
    fault: str, tmp_path: Path, disk: Path, ledger: Ledger
) -> None:
    data = pictures(disk / "data")
    args = train_on(data, tmp_path / "runs")
    if fault == "full":
        fill(disk)
        text = runs.finish(runs.command(tmp_path, *args), tmp_path)
    else:
        with read_only(disk):
            text = runs.finish(runs.command(tmp_path, *args), tmp_path)
    assert "Decoded images cannot be kept for the next run in" in text
    assert str(data) in text
    ledger.add(Row(f"image cache on a {fault} disk", 1))


def test_a_read_only_disk_is_one_line(
    tmp_path: Path, disk: Path, uninterrupted: Uninterrupted, ledger: Ledger
) -> None:
    run = copy_of(uninterrupted, "GAN", disk / "run" / "version_0")
    cpu = "--trainer.accelerator=cpu"
    data = ["--data=Images", "--data.dataset=digits"]
    elsewhere = [f"--out={tmp_path / 'out'}", "--count=4"]
    with read_only(disk):
        for args in (
            ["fit", *runs.MODELS["GAN"], *runs.SMALL, f"--trainer.default_root_dir={disk}"],
            ["fit", f"--ckpt_path={run}", cpu],
            ["sample", f"--ckpt_path={run}", cpu],
        ):
            line = runs.fails(runs.command(tmp_path, *args), tmp_path, code=2)
            assert str(disk) in line, line
            assert "Read-only file system" in line, line
        for args in (["sample", *elsewhere], ["test", *data, "--quality.final_samples=64"]):
            started = runs.command(tmp_path, *args, f"--ckpt_path={run}", cpu)
            assert f"{run} is read-only" in runs.finish(started, tmp_path)
    assert (tmp_path / "out" / "grid.png").exists()
    ledger.add(Row("read-only folder", 5))
