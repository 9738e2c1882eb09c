"""The comparison of image quality with peers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ladder
from benchmarks import quality, scored_run
from benchmarks.quality import Result, parser, run_ladder, run_peer, runs, score, summary
from benchmarks.scored_run import Ended
from datamodules import Images
from tests.benchmarks.fake_launch import FakeLaunch
from tests.models.gans import WIDTH_2
from tests.test_cli import DIGITS, run

FLOOR = {"frechet": 0.02, "label_accuracy": 0.99, "precision": 0.8, "recall": 0.9}


@pytest.fixture
def digits(monkeypatch: pytest.MonkeyPatch) -> Images:
    monkeypatch.setattr("metrics.gan_train.STEPS", 2)
    data = Images(dataset="digits")
    data.setup()
    return data


def result(name: str, seed: int, frechet: float) -> Result:
    scores = dict.fromkeys(quality.COLUMNS, 0.5) | {"frechet": frechet}
    return Result(name, seed, 600.4, 1000 + seed, 64, scores, FLOOR)


def test_real_images_score_as_the_floor_does(digits: Images) -> None:
    assert digits.splits is not None
    images, labels = (tensor[:200] for tensor in digits.splits.train)
    report = score(images, labels, digits)
    assert report.floor["frechet"] > 0
    for name in ("frechet", "precision", "recall", "gan_train"):
        assert report.scores[name] == pytest.approx(report.floor[name], abs=1e-9)
    assert report.counts["frechet"] == {"generated": 200, "train": 200, "test": 200}


def test_scores_are_those_of_test(digits: Images, tmp_path: Path, in_root: Path) -> None:
    """Of the same images, in the classes of the training images."""
    short = ["--trainer.max_steps=2", "--trainer.limit_val_batches=0", "--seed_everything=0"]
    place = [f"--trainer.default_root_dir={tmp_path}", "--experiment=e"]
    count = ["--quality.final_samples=150"]
    run("fit", "--model=ConditionalGAN", *WIDTH_2, *DIGITS, *short, *place, *count)
    run("test", f"--ckpt_path={tmp_path}/e")
    found = json.loads((tmp_path / "e/version_0/metrics.json").read_text())["test"]
    assert digits.splits is not None
    classes = digits.splits.train.targets[:150].tolist()
    drawn = ladder.sample(ladder.load(tmp_path / "e"), 150, classes)
    report = score(torch.from_numpy(drawn.images)[:, None], torch.tensor(classes), digits)
    assert report.scores.keys() == found["scores"].keys()
    for name in quality.COLUMNS:
        assert report.scores[name] == pytest.approx(found["scores"][name], abs=1e-4), name
        assert report.floor[name] == pytest.approx(found["floor"][name], abs=1e-9), name


def test_a_contenders_row_has_means_and_spread() -> None:
    found = [result("mlp", 0, 6.0), result("mlp", 1, 8.0), result("ladder", 0, 0.25)]
    failed = Result("mlp", 2, 9.0, reason="exit code 1: no memory")
    rows = summary([*found, failed]).rows
    assert rows[0][:6] == ["mlp", "2 of 3", "600", "1,000", "64,032", "7 ± 1.4"]
    assert rows[1][:6] == ["ladder", "1", "600", "1,000", "64,000", "0.25"]
    assert rows[2] == ["real training images", *[""] * 4, "0.02", "0.99", "0.8", "0.9", "-"]
    section = runs([*found, failed])
    assert section.rows[-1] == ["mlp", "2", "9", "0", *["failed"] * 5]
    assert section.notes == ["mlp, seed 2, failed: exit code 1: no memory"]
    nothing = summary([failed])
    assert nothing.rows == [["mlp", "0 of 1", *["-"] * 8]]
    assert "real training" not in nothing.markdown()


def test_a_peer_is_told_its_time_and_data(
    digits: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []

    def launch(args: Any, log: Path) -> Ended:
        told.append(args)
        images = torch.randint(256, (40, 28, 28), dtype=torch.uint8).numpy()
        facts = {"steps": 3, "batch_size": 128, "cpu_seconds": 7.5}
        np.savez(args[-1], images=images, labels=torch.arange(40) % 10, **facts)
        return Ended(0, 9.0, "")

    monkeypatch.setattr(quality, "launch", launch)
    options = parser().parse_args(["--cpu-seconds=7", "--dataset=digits", "--data-dir=/x"])
    found = run_peer("dcgan-bf16", 5, options, digits, tmp_path)
    assert found[:5] == ("dcgan-bf16", 5, 7.5, 3, 128)
    assert found.scores is not None
    assert found.scores["frechet"] > 10 * found.floor["frechet"]
    text = " ".join(told[0])
    assert text.startswith("-m benchmarks.peer_cgan dcgan --bf16 --dataset digits --data-dir /x ")
    assert "--seed 5 --cpu-seconds 7.0 --count 10000" in text
    monkeypatch.setattr(quality, "launch", lambda args, log: Ended(1, 2.0, "exit code 1: no"))
    assert run_peer("mlp", 0, options, digits, tmp_path) == Result(
        "mlp", 0, 2.0, reason="exit code 1: no"
    )


def test_ladder_is_its_config_with_the_options_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scored_run, "launch", fake := FakeLaunch())
    options = parser().parse_args([])
    found = run_ladder(4, options, ["--trainer.max_steps", "7"], tmp_path)
    assert found[:5] == ("ladder", 4, 60.0, 7, 8)
    assert found.scores["frechet"] == 5.0
    assert found.floor == {"frechet": 0.5}
    text = " ".join(fake.commands[0])
    assert "--config configs/cgan.yaml" in text
    assert "--data.dataset mnist --trainer.max_steps 7" in text
    fake.ends["test", "seed_6"] = Ended(1, 2.0, "exit code 1: no")
    failed = run_ladder(6, options, [], tmp_path)
    assert failed.reason == "test: exit code 1: no"
    assert failed.scores is None


def test_missing_data_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datamodules.images.find_files", lambda *_: ({}, ["here"]))
    monkeypatch.setattr("datamodules.images.download", lambda *_: "no network")
    with pytest.raises(SystemExit) as ended:
        quality.main([f"--data-dir={tmp_path}"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")


@pytest.mark.slow
def test_a_comparison_on_small_digits(tmp_path: Path) -> None:
    quality.main([
        "--dataset=digits", "--cpu-seconds=1", "--count=60", "--only", "ladder", "mlp",
        f"--out={tmp_path}", "--", "--trainer.max_steps=2", "--quality.final_samples=60", *WIDTH_2,
    ])  # fmt: skip
    (file,) = tmp_path.iterdir()
    text = file.read_text()
    assert file.name.endswith("-quality.md")
    for begin in ("# Benchmark, 20", "| ladder | 1 |", "| mlp | 1 |", "| real training images |"):
        assert begin in text
    assert "failed" not in text
