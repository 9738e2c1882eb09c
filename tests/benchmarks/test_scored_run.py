"""A config is trained with a seed, scored, and recorded."""

import json
from pathlib import Path

import pytest

from benchmarks.scored_run import Ended, Trial, launch, split_options, train_and_score
from runtime.errors import UserError
from tests.benchmarks.fake_launch import FakeLaunch
from tests.models.gans import WIDTH_2

TRIAL = Trial("configs/cgan.yaml", 3, ("--trainer.max_steps", "7"))
TINY = ("--data.dataset=digits", "--data.batch_size=8", "--trainer.max_steps=2", *WIDTH_2)


def test_options_after_two_dashes_are_those_of_fit() -> None:
    assert split_options(["cgan", "--", "--a", "1"]) == (["cgan"], ["--a", "1"])
    assert split_options(["cgan"]) == (["cgan"], [])


def test_a_process_is_timed_and_its_output_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    log = tmp_path / "log"
    busy = "import os, time\nwhile time.process_time() < 0.3: pass\n"
    ended = launch(["-c", f"{busy}print(os.environ['OMP_NUM_THREADS'])"], log)
    assert (ended.code, ended.error) == (0, "")
    assert 0.3 <= ended.cpu_seconds < 2
    assert log.read_text() == "1\n"
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    failing = "import sys; print('error: no room', file=sys.stderr); print('bye'); sys.exit(3)"
    assert launch(["-c", failing], log)[::2] == (3, "exit code 3: no room")
    assert launch(["-c", "import time"], log).cpu_seconds < 0.3  # its own, not those before
    assert log.read_text().startswith("1\n")


def test_a_run_is_recorded_with_all_that_it_holds_for(fake: FakeLaunch, tmp_path: Path) -> None:
    record = train_and_score(TRIAL, Path("data"), tmp_path)
    assert record["commands"] == [
        "python cli.py fit --config configs/cgan.yaml --seed_everything 3 "
        "--trainer.accelerator cpu --trainer.max_steps 7",
        "python cli.py test --ckpt_path RUN",
    ]
    assert fake.commands[0][:4] == ["cli.py", "fit", "--config", "configs/cgan.yaml"]
    assert str(Path("data").resolve()) in fake.commands[0]
    assert record["scores"] == {"frechet": 4.0, "recall": None}
    assert record["real_images"] == {"frechet": 0.5}
    assert record["cpu_seconds"] == {"fit": 60.0, "test": 2.0}
    assert (record["status"], record["steps"], record["seed"]) == ("done", 7, 3)
    assert record["versions"].keys() >= {"Python", "torch", "lightning"}
    assert record["hardware"]["cpu"]
    text = json.dumps(record)
    assert len(text) < 4000
    assert str(tmp_path) not in text  # nothing of this machine's folders
    assert "class_scores" not in text


def test_the_validation_split_is_scored_by_validate(fake: FakeLaunch, tmp_path: Path) -> None:
    record = train_and_score(TRIAL._replace(split="val"), Path("data"), tmp_path)
    assert fake.commands[1][1] == "validate"
    assert record["scores"]["frechet"] == 4.0


@pytest.mark.parametrize("command", ["fit", "test"])
def test_a_failure_is_recorded_with_its_reason(
    fake: FakeLaunch, tmp_path: Path, command: str
) -> None:
    fake.ends[command, "seed_3"] = Ended(1, 9.0, "exit code 1: NaN")
    record = train_and_score(TRIAL, Path("data"), tmp_path)
    assert (record["status"], record["reason"]) == ("failed", f"{command}: exit code 1: NaN")
    assert record["cpu_seconds"][command] == 9.0
    assert "scores" not in record


def test_a_run_without_scores_has_failed(fake: FakeLaunch, tmp_path: Path) -> None:
    fake.ends["test", "seed_3"] = Ended(0, 1.0, "")
    record = train_and_score(TRIAL, Path("data"), tmp_path)
    assert record["reason"] == "test: no 'test' in metrics.json"


def test_a_mistake_is_no_run(fake: FakeLaunch, tmp_path: Path) -> None:
    fake.ends["fit", "seed_3"] = Ended(2, 1.0, "exit code 2: there is no MNIST")
    with pytest.raises(UserError, match="^configs/cgan.yaml: there is no MNIST$"):
        train_and_score(TRIAL, Path("data"), tmp_path)


@pytest.mark.slow
def test_a_tiny_run_is_trained_and_scored(tmp_path: Path) -> None:
    quick = ("--quality.final_samples=60", "--quality.gan_train=false")
    trial = Trial("configs/cgan.yaml", 1, (*TINY, *quick))
    record = train_and_score(trial, tmp_path, tmp_path)
    assert record["status"] == "done", (tmp_path / "seed_1.log").read_text()
    assert record["steps"] == 2
    assert record["scores"].keys() == record["real_images"].keys() >= {"frechet", "recall"}
    assert record["samples"]["frechet"] == {"generated": 60, "train": 60, "test": 60}
    assert record["judge"]["name"] == "digits"
    assert 1 < record["cpu_seconds"]["fit"] < 60
