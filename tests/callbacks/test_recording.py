"""A score says which weights were measured, on which data, with which seed, and when."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from results import Run
from tests.test_cli import run

IRIS = ["--config=configs/iris.yaml", "--trainer.max_epochs=2", "--data.val_fraction=0.2"]
FEW = ["--trainer.pictures=false", "--checkpoint.min_steps=1"]
GAN = ["--model=GAN", "--model.generator.width=2", "--model.trunk.width=2", "--data=Images"]
SMALL = ["--data.dataset=digits", "--trainer.max_steps=2", "--trainer.limit_val_batches=0"]


@pytest.fixture
def folder(tmp_path, in_root) -> Path:
    run("fit", *IRIS, *FEW, f"--trainer.default_root_dir={tmp_path}")
    return tmp_path / "iris" / "version_0"


def test_results_of_other_checkpoints_and_data_stay_beside_each_other(folder):
    (last,) = Run(folder).results("val")  # that fit has recorded at its end
    assert last["checkpoint"] == {"name": "epoch=001-step=0000006.ckpt", "step": 6}
    assert (last["own_data"], last["seed"]) == (True, None)
    assert last["data"]["title"] == "Iris"
    assert last["data"]["counts"] == {"train": 96, "val": 24, "test": 30}
    run("validate", str(folder))
    (again,) = Run(folder).results("val")  # the same checkpoint and the same data
    assert again["time"] >= last["time"]
    run("test", str(folder))
    run("test", str(folder), "--data.standardize=false")
    first = folder / "checkpoints" / "epoch=000-step=0000003.ckpt"
    run("test", str(first.rename(first.with_name("mine.ckpt"))))
    run("test", str(folder))
    own, other, mine, again = (Run(folder).results("test")[k] for k in (2, 0, 1, 2))
    assert len(Run(folder).results("test")) == 3
    assert mine["checkpoint"] == {"name": "mine.ckpt", "step": 3}
    assert (other["own_data"], mine["own_data"], own["own_data"]) == (False, True, True)
    assert own["data"]["content"] == mine["data"]["content"] != other["data"]["content"]
    assert Run(folder).scores(["test"])["test/loss"] == own["scores"]["loss"]
    assert other["scores"]["loss"] != own["scores"]["loss"]


@pytest.mark.parametrize(("fraction", "few", "said"), [(0.2, 25, 2), (0.2, 24, 0), (0.0, 200, 0)])
def test_the_next_command_takes_the_best_weights_and_says_if_few_chose_them(
    fraction, few, said, tmp_path, in_root, caplog, monkeypatch
):
    caplog.set_level("INFO", "lightning.pytorch.utilities.rank_zero")
    monkeypatch.setattr("commands.fit.ladder_cli.MIN_CHOOSING", few)
    root = f"--trainer.default_root_dir={tmp_path}"
    run("fit", *IRIS, *FEW, f"--data.val_fraction={fraction}", root)
    folder = tmp_path / "iris" / "version_0"
    suffix = "/best" if fraction else ""
    assert f"python cli.py test {folder}{suffix}\n" in caplog.text
    run("test", f"{folder}{suffix}")
    assert f"python cli.py predict {folder}{suffix}\n" in caplog.text
    assert caplog.text.count("RUN/best was chosen on 24 validation examples alone") == said


def test_a_generators_result_has_the_seed_of_its_samples(tmp_path, in_root):
    root = f"--trainer.default_root_dir={tmp_path}"
    run("fit", *GAN, *SMALL, *FEW, root, "--seed_everything=7", "--experiment=x")
    folder = tmp_path / "x" / "version_0"
    run("test", str(folder), "--quality.final_samples=20", "--quality.gan_train=false")
    (found,) = Run(folder).results("test")
    assert (found["seed"], found["data"]["title"]) == (7, "digits")
    assert found["floor"].keys() <= found["scores"].keys()
    assert datetime.now(UTC) - datetime.fromisoformat(found["time"]) < timedelta(minutes=1)
