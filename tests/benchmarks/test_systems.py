"""The contenders of the speed comparison, and one round of everything."""

import subprocess

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks import reproduce, systems
from benchmarks.__main__ import measure, parser
from benchmarks.systems import SYSTEMS, Setting, contenders_of, torchvision_mnist
from datamodules.sources import FILES
from tests.conftest import ROOT
from tests.datamodules.conftest import write_idx

KERAS = ROOT / ".venv-bench/bin/python"


@pytest.fixture
def setting(tmp_path):
    return Setting(1, tmp_path, tmp_path, keras=tmp_path / "no python")


def test_without_keras_the_others_are_compared(setting):
    assert [*contenders_of(setting, "cgan", softmax=False)] == ["plain PyTorch", "Ladder"]
    assert [*contenders_of(setting, "cnn", softmax=False)] == ["Ladder", "Ladder, bf16"]


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_names_files_that_exist(name):
    assert (ROOT / f"configs/lecture/{SYSTEMS[name].config}.yaml").is_file()
    assert (ROOT / "benchmarks" / SYSTEMS[name].keras).is_file()


def test_the_peer_of_the_data_path_has_the_same_images():
    pixels = torch.randint(256, (4, 1, 28, 28), dtype=torch.uint8)
    image, label = torchvision_mnist(pixels, torch.arange(4))[2]
    assert torch.equal(image, pixels[2] / 255)
    assert label == 2


def test_help_needs_nothing(capsys):
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args(["--help"])
    assert stopped.value.code == 0
    assert "--data-dir" in capsys.readouterr().out


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A folder with noise in MNIST's files."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for k, count in ((0, 60_000), (2, 10_000)):
        images, labels = (folder / "MNIST/raw" / name for name in FILES[k : k + 2])
        write_idx(images, rng.integers(0, 256, (count, 28, 28), np.uint8))
        write_idx(labels, rng.integers(0, 10, count, np.uint8))
    return folder


def test_the_targets_of_the_makefile_start_them():
    given = ["BENCH=--rounds 1 -- --x 2", "PART=cgan", "bench", "bench-gpu", "reproduce-quality"]
    make = ["make", "--no-print-directory", "-n", *given]
    done = subprocess.run(make, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-3:] == [
        ".venv/bin/python -m benchmarks --rounds 1 -- --x 2",
        ".venv/bin/python -m benchmarks.gpu --rounds 1 -- --x 2",
        ".venv/bin/python -m benchmarks.reproduce cgan --rounds 1 -- --x 2",
    ]


@pytest.mark.slow
def test_everything_is_compared(data_dir, tmp_path, monkeypatch, capsys):
    short = {name: system._replace(steps=2, epochs=1) for name, system in SYSTEMS.items()}
    monkeypatch.setattr(systems, "SYSTEMS", short)
    monkeypatch.setattr(systems, "EXAMPLES", 1280)
    options = ["--rounds", "1", "--data-dir", str(data_dir), "--out", str(tmp_path)]
    table = measure(parser().parse_args(options)).read_text()
    assert table.count("\n## ") == 3
    assert table.count("| Ladder |") == len(SYSTEMS) + 1  # and the data path
    assert table.count("| plain PyTorch |") == 1
    if not KERAS.exists():
        assert f"Keras is not run: {KERAS} is missing" in capsys.readouterr().out
        pytest.skip(f"all but Keras: {KERAS.relative_to(ROOT)} is missing (`make bench`)")
    assert table.count("| Keras |") == len(SYSTEMS)
    assert table.count(" epochs |") == 2  # whole runs


@pytest.mark.slow
def test_reproduce_quality_trains_and_scores(data_dir, tmp_path, capsys):
    places = f"--data-dir {data_dir} --out {tmp_path / 'quality.csv'} --runs {tmp_path / 'runs'}"
    short = f"mnist-dense --seeds 3 --split val {places} -- --trainer.max_steps 2"
    with pytest.raises(SystemExit) as ended:
        reproduce.main(short.split())
    assert not ended.value.code
    assert "seed 3: done" in capsys.readouterr().out
    (run,) = pd.read_csv(tmp_path / "quality.csv").to_dict("records")
    assert (run["steps"], run["split"], run["status"]) == (2, "val", "done")
    assert 0 < run["accuracy"] < 0.3
