"""`export` refuses what would be wrong, and keeps no file that computes something else."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import nn

from commands import export_formats
from models import (
    GateMLP,
)
from models.exportable import programs_of
from runtime.errors import UserError
from tests.commands.exports import Custom, ExportingTrainer, export, image_classifier, names
from tests.models.classifiers import dense, trainer
from tests.test_cli import fails


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (
            "--config=configs/gates.yaml",
            "export without --ckpt_path would use random weights: give a checkpoint or a run "
            "folder, `python cli.py export --ckpt_path RUN`.",
        ),
        (
            "--config=configs/gates.yaml --format onnx onx",
            "--format: expected onnx, torch or safetensors, got 'onx'. Did you mean onnx?",
        ),
    ],
)
def test_a_mistake_is_one_line(
    args: str, expected: str, in_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fails(capsys, "export", *args.split()) == f"error: {expected}"


@pytest.mark.parametrize(
    ("format", "library"),
    [("onnx", "onnx"), ("onnx", "onnxruntime"), ("onnx", "onnxscript"), ("safetensors",) * 2],
)
def test_a_missing_library_is_named_with_its_remedy(
    format: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("onnx", "onnxruntime", "onnxscript", "safetensors"):  # as if they were installed
        monkeypatch.setitem(sys.modules, name, torch)
    monkeypatch.setitem(sys.modules, library, None)
    remedy = rf'--format {format} needs the library {library}, .*pip install -e "\.\[export\]"'
    with pytest.raises(UserError, match=remedy):
        export(GateMLP(), tmp_path, format)
    assert names(tmp_path) == {"model.ckpt"}


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(UserError, match=r"--out .*/out: cannot be written to"):
        export(GateMLP(), tmp_path, "torch")


def test_weights_and_models_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    exporter: Any = trainer(kind=ExportingTrainer)
    with pytest.raises(UserError, match="without --ckpt_path"):
        exporter.export(GateMLP())
    with pytest.raises(UserError, match="GANs, not BoringModel"):
        exporter.export(BoringModel(), tmp_path / "model.ckpt")
    diverged = GateMLP()
    nn.init.constant_(next(diverged.parameters()), float("nan"))
    with pytest.raises(UserError, match="not finite numbers"):
        export(diverged, tmp_path, "torch")
    assert names(tmp_path) == {"model.ckpt"}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda value: value + 2e-5, r"'logits' of 1 inputs differs from PyTorch's by 2.0e-05"),
        (lambda value: value * float("nan"), "'logits' of 1 inputs differs .* by nan"),
        (lambda value: value[:2], r"'logits' of 3 inputs has shape \(2, 10\) instead of"),
    ],
)
def test_a_file_that_computes_something_else_is_not_kept(
    change: Any, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = torch.export.load

    class Changed:
        def __init__(self, path: Path) -> None:
            self.program = whole(path).module()

        def module(self) -> Any:
            return lambda **inputs: {k: change(v) for k, v in self.program(**inputs).items()}

    monkeypatch.setattr(torch.export, "load", Changed)
    with pytest.raises(UserError, match=f"classifier.pt2 is not written: {problem}"):
        export(dense((4,)), tmp_path, "torch")
    assert names(tmp_path) == {"model.ckpt"}


def test_large_outputs_may_differ_by_as_much_as_float32_does() -> None:
    (program,) = programs_of(dense((4,)), 255.0)
    nn.init.constant_(program.model.network[-1].bias, 1000.0)

    def moved(by: float) -> Any:
        return lambda **inputs: {k: v + by for k, v in program(**inputs).items()}

    difference = export_formats.largest_difference(program, moved(5e-3))
    assert difference == pytest.approx(5e-3, rel=0.05)
    with pytest.raises(UserError, match=r"1\.0e-02 is allowed"):
        export_formats.largest_difference(program, moved(2e-2))


def test_a_layer_that_cannot_be_traced_is_named(tmp_path: Path) -> None:
    model = image_classifier(partial(Custom, layer="Branching"))
    wanted = r"classifier.pt2 is not written: layer network.2 \(Branching\) cannot be expressed"
    with pytest.raises(UserError, match=wanted):
        export(model, tmp_path, "torch")
    assert names(tmp_path) == {"model.ckpt"}


@pytest.mark.extras
def test_a_layer_that_onnx_lacks_is_named_and_other_formats_are_kept(tmp_path: Path) -> None:
    wanted = r"^classifier.onnx is not written: layer network.2 \(Sorting\) cannot be .*svd"
    with pytest.raises(UserError, match=wanted) as caught:
        export(image_classifier(Custom), tmp_path, "onnx", "torch", "safetensors")
    assert "\n" not in str(caught.value)
    out = tmp_path / "out"
    assert names(out) == {"classifier.pt2", "model.safetensors", "model.json", "README.md"}


@pytest.mark.extras
def test_weights_too_large_for_onnx_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_formats, "LARGEST_ONNX", 10)
    with pytest.raises(UserError, match="an ONNX file holds 2 GB"):
        export(GateMLP(), tmp_path, "onnx")
