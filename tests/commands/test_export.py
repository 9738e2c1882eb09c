"""The Trainer's method `export` writes files that run without this project."""

import json
import re
from functools import partial
from pathlib import Path

import pytest
import torch

from models import (
    ConditionalGAN,
    GateMLP,
)
from models.averaging import Averaging
from models.gan.networks import ModernTrunk
from tests.commands.exports import (
    NAMES,
    ExportingTrainer,
    checkpoint,
    code,
    export,
    names,
    python,
    shaken,
)
from tests.models.classifiers import SHAPE, convnet, dense, trainer
from tests.models.gans import small
from tests.test_cli import run

# Run first in a process to which neither torch nor this project is known.


def test_a_torch_program_says_what_it_takes_and_computes_what_the_model_computes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = shaken(convnet(average=Averaging(0.9)))
    out = export(model, tmp_path, "torch", scale=100.0)
    assert names(out) == {"classifier.pt2", "README.md"}
    extra = {
        "class_names": "",
        "scale": "",
        "input_shape": "",
        "checkpoint_sha256": "",
        "model": "",
    }
    program = torch.export.load(out / "classifier.pt2", extra_files=extra).module()
    images = torch.randint(256, (5, *SHAPE), dtype=torch.uint8)
    with torch.no_grad():
        logits = model.eval()(images / 100)
    found = program(images=images)
    torch.testing.assert_close(found["logits"], logits)
    torch.testing.assert_close(found["probabilities"], logits.softmax(1))
    assert model.ema is not None
    assert not torch.allclose(model.network(images / 100), logits)
    assert json.loads(extra["class_names"]) == [*NAMES]
    assert (extra["scale"], json.loads(extra["input_shape"])) == ("100.0", [*SHAPE])
    assert extra["model"] == "models.image_classifiers.ImageClassifier"
    assert len(extra["checkpoint_sha256"]) == 64
    printed = capsys.readouterr().out
    assert re.search(r"^classifier.pt2: \d+ kB, largest difference from PyTorch 0", printed, re.M)
    assert f"How to run it: {out / 'README.md'}" in printed


def test_a_discriminator_that_compares_images_is_left_out(tmp_path: Path) -> None:
    trunk = partial(ModernTrunk, width=2, minibatch_std=True)
    with pytest.warns(UserWarning, match="discriminator is left out, because it compares"):
        out = export(small(trunk=trunk), tmp_path, "torch")
    assert names(out) == {"generator.pt2", "README.md"}


@pytest.mark.extras
def test_the_readme_describes_all_files_of_a_checkpoint(tmp_path: Path) -> None:
    model = GateMLP()
    for formats in ("safetensors", "torch"):
        text = (export(model, tmp_path, formats) / "README.md").read_text()
    assert "## Run with PyTorch alone" in text
    assert "## Run with Ladder" in text  # from the call before
    text = (export(shaken(model), tmp_path, "torch") / "README.md").read_text()
    assert "## Run with Ladder" not in text  # model.safetensors is of other weights


def test_a_file_has_no_weights_that_it_does_not_use(tmp_path: Path) -> None:
    model = small(ConditionalGAN, average=Averaging(0.9))
    out = export(model, tmp_path, "torch")
    assert names(out) == {"generator.pt2", "discriminator.pt2", "README.md"}
    for name, used in {"generator": "model.ema.", "discriminator": "model.discriminator."}.items():
        kept = torch.export.load(out / f"{name}.pt2").state_dict
        assert kept
        assert all(key.startswith(used) for key in kept)


def test_floats_are_taken_as_in_training_if_no_scale_is_known(tmp_path: Path) -> None:
    model = dense((4,))
    program = torch.export.load(export(model, tmp_path, "torch", scale=None) / "classifier.pt2")
    images = torch.rand(2, *SHAPE)
    found = program.module()(inputs=images)["logits"]
    torch.testing.assert_close(found, model(images))


def test_an_old_checkpoint_tells_the_scale_among_the_settings_of_its_data(tmp_path: Path) -> None:
    model, path = dense((4,)), tmp_path / "old.ckpt"
    settings = {"scale": 50.0}
    torch.save({"state_dict": model.state_dict(), "datamodule_hyper_parameters": settings}, path)
    trainer(kind=ExportingTrainer).export(model, path, format=("torch",))  # beside it
    extra = {"scale": "", "class_names": ""}
    torch.export.load(tmp_path / "export" / "classifier.pt2", extra_files=extra)
    assert extra["scale"] == "50.0"
    assert json.loads(extra["class_names"]) == [str(k) for k in range(10)]


def test_the_command_writes_into_the_runs_folder(in_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "version_0"
    (folder / "checkpoints").mkdir(parents=True)
    checkpoint(GateMLP(), folder / "checkpoints" / "last.ckpt")
    run("export", f"--ckpt_path={folder}", "--format=torch")
    assert names(folder) == {"checkpoints", "export"}
    out = folder / "export"
    assert names(out) == {"classifier.pt2", "README.md"}
    assert "form the inputs must have: Iris, standardize = True." in (out / "README.md").read_text()
    printed = python(code(out / "README.md", "PyTorch alone"), out)  # in torch without this project
    assert re.fullmatch(r"\['class [01]', 'class [01]', 'class [01]'\]\n", printed)


def test_files_compute_in_float32_also_where_others_do_not(tmp_path: Path) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        out = export(shaken(dense((4,))), tmp_path, "torch")
    assert "bfloat16" not in str(torch.export.load(out / "classifier.pt2").graph)
    assert "float32 (N, 10)" in (out / "README.md").read_text()
