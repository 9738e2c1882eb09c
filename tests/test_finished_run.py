"""The folder of a finished run: what is in it, and what can be done with it alone."""

import csv
import os
import shutil

import pytest
import torch
import yaml
from PIL import Image

from results import Run
from tests.commands.runs import DIGITS
from tests.test_cli import TINY_GAN, run


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a small run."""
    root = tmp_path_factory.mktemp("runs")
    run("fit", *TINY_GAN, *DIGITS, "--trainer.max_steps=8", "--trainer.log_every_n_steps=2",
        "--trainer.limit_train_batches=4", f"--trainer.default_root_dir={root}",
        "--samples.min_steps=4", "--checkpoint.min_steps=0", "--experiment=tiny",
        "--quality.samples=100", "--quality.final_samples=100")  # fmt: skip
    return root / "tiny" / "version_0"


def test_a_run_folder_says_everything(finished):
    names = {path.name for path in finished.iterdir()}
    assert {"config.yaml", "metrics.csv", "checkpoints", "figures"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    figures = {path.name for path in (finished / "figures").iterdir()}
    steps = {f"samples_{step:07d}.png" for step in (0, 4, 8)}
    drawn = {"data_examples.png", "network.png", "samples.png", "curves.png"}
    drawn |= {"network.svg", "curves.svg"}  # lines and text also as vectors
    assert figures == drawn | steps
    checkpoints = {path.name for path in (finished / "checkpoints").iterdir()}
    assert checkpoints == {
        "last.ckpt", "best.ckpt", "epoch=000-step=0000004.ckpt", "epoch=001-step=0000008.ckpt",
        "training_images.bin",
    }  # fmt: skip
    assert yaml.safe_load((finished / "config.yaml").read_text())["trainer"]["max_steps"] == 8


def test_checkpoints_hold_both_networks_and_plain_values(finished):
    checkpoint = torch.load(finished / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 8
    networks = {name.split(".")[0] for name in checkpoint["state_dict"]}
    assert {"generator", "discriminator"} <= networks
    assert checkpoint["hyper_parameters"]["trunk"]["init_args"]["width"] == 2
    assert checkpoint["datamodule_hyper_parameters"]["dataset_found"] == "digits"


def test_the_last_checkpoint_is_used_with_nothing_but_the_run(finished, tmp_path, caplog):
    """What it measures is in metrics.json, and no row of another epoch or column in the log."""
    names = "config.yaml", "metrics.csv"
    before = [(finished / name).read_text() for name in names]
    run("validate", f"--ckpt_path={finished}")
    run("test", f"--ckpt_path={finished}")
    assert f"Next:     python cli.py sample {finished}" in caplog.text
    assert [(finished / name).read_text() for name in names] == before
    for stage in ("val", "test"):
        (found,) = Run(finished).results(stage)
        assert found["checkpoint"]["step"] == 8
        assert found["scores"].keys() - found["floor"].keys() == {"d_loss", "d_accuracy"}


def test_a_numbered_checkpoint_is_used_by_its_name(finished, tmp_path):
    """The name has equals signs, as options have."""
    numbered = finished / "checkpoints" / "epoch=001-step=0000008.ckpt"
    for option in ([str(numbered)], ["--ckpt_path", str(numbered)], [f"--ckpt_path={numbered}"]):
        run("sample", *option, "--count=10", f"--out={tmp_path}")


def test_pictures_have_a_place_for_each_sample(finished):
    with Image.open(finished / "figures" / "samples.png") as picture:
        assert picture.size == (2 * (5 * 30 + 2), 2 * (5 * 30 + 2))


def test_tensorboard_has_scalars_and_images(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished), size_guidance={"images": 0}).Reload()
    with (finished / "metrics.csv").open() as file:
        (logged, *_) = csv.reader(file)
    assert {"train/d_loss", "train/g_loss", "val/d_loss"} < {*logged}
    assert {*logged} - {"step"} == {*events.Tags()["scalars"]} - {"hp_metric"}
    assert [image.step for image in events.Images("figures/samples")] == [0, 4, 8]
    assert [scalar.step for scalar in events.Scalars("train/d_loss")] == [2, 4, 6, 8]


def test_of_several_runs_the_newest_is_chosen_and_said(finished, tmp_path, capsys):
    runs = tmp_path / "tiny"
    shutil.copytree(finished, runs / "version_0")
    run("sample", f"--ckpt_path={runs}", "--count=10")
    shutil.copytree(finished, runs / "version_1")
    last = runs / "version_0" / "checkpoints" / "last.ckpt"
    os.utime(last, (2e9, 2e9), follow_symlinks=False)
    os.utime(last, (1.7e9, 1.7e9))
    for path in (runs / "version_1").glob("checkpoints/*"):
        os.utime(path, (1.6e9, 1.6e9), follow_symlinks=False)
    run("sample", f"--ckpt_path={runs}", "--count=10")
    assert "version_0/samples_2" in capsys.readouterr().out
