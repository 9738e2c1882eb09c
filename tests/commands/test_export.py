"""`export` writes files that compute the same elsewhere, without torch and this project."""

import json
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from commands.export import CARD, _compare_probabilities, _write, export, export_model, program_of
from datamodules.input_spec import InputSpec
from models import (
    GAN,
    ConditionalGAN,
    Flow,
    FunctionMLP,
    GateMLP,
    ImageClassifier,
    LectureConvNet,
    PlaneVelocity,
)
from models.generative import Generative
from models.training import EMAOptions
from runtime import checkpoints
from runtime.errors import RunFailedError, UserError
from tests.models.classifiers import SHAPE, convnet, dense, iris
from tests.models.gans import DROPOUT, LECTURE, small

NAMES = tuple(f"class {k}" for k in range(10))
PROJECT = {"callbacks", "cli", "commands", "datamodules", "figures", "metrics", "models", "pages",
           "results", "runtime"}  # fmt: skip
RUN = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is blocked")

sys.meta_path.insert(0, Block())
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(f"{{sys.argv[1]}}.onnx")
outputs = [output.name for output in session.get_outputs()]
np.savez("outputs.npz", **dict(zip(outputs, session.run(None, dict(np.load("inputs.npz"))))))
"""


def image_classifier(network: Any, **kwargs: Any) -> ImageClassifier:
    return ImageClassifier(SHAPE, 10, network, **kwargs)


def shaken(model: Any, scale: float = 255.0) -> Any:
    """Moves all weights and batch statistics, so that no network equals its average."""
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor += 0.03 * torch.rand_like(tensor)  # variances stay positive
    shape = model.image_shape if isinstance(model, Generative) else model.input_shape
    model.input_spec = InputSpec(shape, scale, NAMES[: getattr(model, "num_classes", 0)] or None)
    return model.eval()


@pytest.fixture
def exported(tmp_path):
    """A function that exports a model into a new folder."""

    def exporting(model: Any, *formats: Any) -> Path:
        export_model(model, formats, tmp_path / "out")
        return tmp_path / "out"

    return exporting


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {CARD}


MODELS: dict[str, Any] = {
    "residual": partial(convnet, average=EMAOptions(0.9), flip=True, flip_in_evaluation=True),
    "lecture": partial(image_classifier, LectureConvNet, loss="bce"),
    "iris": partial(iris, [8], "tanh"),
    "function": FunctionMLP,
    "gan": partial(small, GAN, image_shape=(3, 16, 20), average=EMAOptions(0.9)),
    "lecture-gan": partial(small, **LECTURE | DROPOUT, latent="uniform"),
    "flow": partial(Flow, (1, 8, 8), 3, steps=2, guidance=0.5, class_dropout=0.1),
    "points": partial(Flow, (2,), network=PlaneVelocity, steps=2),
    "conditional": partial(small, ConditionalGAN, spectral_norm=True),
}


def given(program: Any) -> dict[str, Any]:
    return {name: value.numpy() for name, value in program.inputs(7).items()}


def compare(found: dict[str, np.ndarray], program: Any) -> None:
    wanted = program.network(**program.inputs(7))
    assert [*found] == [*wanted]
    for name, value in wanted.items():
        torch.testing.assert_close(torch.from_numpy(found[name]), value, rtol=1e-5, atol=1e-5)


@pytest.mark.extras
@pytest.mark.parametrize("kind", MODELS)
def test_an_onnx_file_computes_the_same(kind, exported):
    import onnxruntime

    model = shaken(MODELS[kind]())
    program, out = program_of(model), exported(model, "onnx")
    assert files(out) == {f"{program.name}.onnx"}
    session = onnxruntime.InferenceSession(out / f"{program.name}.onnx")
    names = [output.name for output in session.get_outputs()]
    compare(dict(zip(names, session.run(None, given(program)), strict=True)), program)


@pytest.mark.extras
def test_an_onnx_file_runs_without_torch_and_this_project(exported):
    model = shaken(MODELS["conditional"]())
    program, out = program_of(model), exported(model, "onnx")
    np.savez(out / "inputs.npz", **given(program))
    script = RUN.format(blocked=PROJECT | {"torch", "lightning"})
    command = [sys.executable, "-I", "-c", script, program.name]
    subprocess.run(command, cwd=out, check=True, timeout=60)
    with np.load(out / "outputs.npz") as outputs:
        compare(dict(outputs), program)


@pytest.mark.extras
def test_an_onnx_file_says_what_it_is(exported):
    import onnxruntime

    session = onnxruntime.InferenceSession(exported(shaken(iris([8])), "onnx") / "classifier.onnx")
    (given,) = session.get_inputs()
    assert (given.name, given.type, given.shape) == ("inputs", "tensor(float)", ["batch", 4])
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["class_names"]) == [*NAMES[:3]]
    assert (metadata["scale"], metadata["model"]) == ("255.0", "models.iris.IrisMLP")


@pytest.mark.extras
@pytest.mark.parametrize("label", [10, -1])
def test_a_label_beyond_the_classes_is_refused(label, exported):
    import onnxruntime

    out = exported(shaken(small(ConditionalGAN)), "onnx", "torch")
    session = onnxruntime.InferenceSession(out / "generator.onnx")
    program = torch.export.load(out / "generator.pt2").module()
    latents = torch.randn(2, session.get_inputs()[0].shape[1])
    with pytest.raises(Exception, match="invalid index"):
        session.run(None, {"latents": latents.numpy(), "labels": np.array([0, label])})
    with pytest.raises(IndexError, match="out of bounds"):
        program(latents=latents, labels=torch.tensor([0, label]))


def test_a_classifier_takes_pixels_divides_them_and_answers_with_its_average(exported):
    model = shaken(convnet(average=EMAOptions(0.9)), scale=100.0)
    out = exported(model, "torch")
    extra = {"class_names": "", "scale": "", "model": ""}
    program = torch.export.load(out / "classifier.pt2", extra_files=extra).module()
    images = torch.randint(256, (5, *SHAPE), dtype=torch.uint8)
    with torch.no_grad():
        logits = model(images / 100)
    found = program(inputs=images)
    torch.testing.assert_close(found["logits"], logits)
    torch.testing.assert_close(found["probabilities"], logits.softmax(1))
    assert not torch.allclose(model.network(images / 100), logits)
    assert json.loads(extra["class_names"]) == [*NAMES]
    assert (extra["scale"], extra["model"]) == ("100.0", "models.image_classifiers.ImageClassifier")


def test_floats_are_taken_as_in_training_if_no_scale_is_known(exported):
    model = shaken(dense((4,)))
    model.input_spec = None
    program = torch.export.load(exported(model, "torch") / "classifier.pt2").module()
    images = torch.rand(2, *SHAPE)
    torch.testing.assert_close(program(inputs=images)["logits"], model(images))


def test_safetensors_keep_all_weights_and_the_settings(exported):
    from safetensors import safe_open

    model = shaken(small(ConditionalGAN, average=EMAOptions(0.9), latent_dim=7))
    with safe_open(exported(model, "safetensors") / "model.safetensors", "pt") as file:
        settings = json.loads(file.metadata()["init_args"])
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert settings["latent_dim"] == 7
    assert found.keys() == model.state_dict().keys()
    assert all(torch.equal(found[name], value) for name, value in model.state_dict().items())


def test_files_compute_in_float32_also_where_others_do_not(exported):
    with torch.autocast("cpu", torch.bfloat16):
        out = exported(shaken(dense((4,))), "torch")
    assert "bfloat16" not in str(torch.export.load(out / "classifier.pt2").graph)


class Changed:
    """A written program whose outputs a function changes."""

    def __init__(self, change: Any, path: Path, whole: Any = torch.export.load) -> None:
        self.change, self.program = change, whole(path).module()

    def module(self) -> Any:
        return lambda **inputs: {k: self.change(v) for k, v in self.program(**inputs).items()}


def one_pixel(levels: int) -> Any:
    def change(images: Tensor) -> Tensor:
        changed = images.clone()
        side = -1 if changed[0, 0, 0, 0] > 0.5 else 1
        changed[0, 0, 0, 0] += side * levels / 255
        return changed

    return change


DIFFERENT = {
    "probabilities": (dense, (4,), lambda x: x + 2e-3, "probabilities .* at most 2.0e-03"),
    "not a number": (dense, (4,), lambda x: x * float("nan"), "'logits' of 1 inputs is not finite"),
    "shape": (dense, (4,), lambda x: x[:2], r"'logits' of 3 inputs has shape \(2, 10\)"),
    "values": (FunctionMLP, (), lambda x: x + 2e-4 * (x.max() - x.min()), "predictions .* range"),
    "a pixel": (partial(small, GAN), (), one_pixel(3), "images .* at most 3 of 255 gray levels"),
    "many": (partial(small, GAN), (), lambda x: (x - 2 / 255).abs(), "images .* at most 2 of 255"),
}


@pytest.mark.parametrize(("kind", "given", "change", "problem"), DIFFERENT.values(), ids=DIFFERENT)
def test_a_file_that_computes_something_else_is_kept_as_refused(
    kind, given, change, problem, exported, tmp_path, monkeypatch
):
    model = shaken(kind(*[given] if given else []))
    monkeypatch.setattr(torch.export, "load", partial(Changed, change))
    (tmp_path / "out").mkdir()
    name = f"{program_of(model).name}.pt2"
    (tmp_path / "out" / name).write_text("of an earlier export")
    with pytest.raises(RunFailedError, match=f"{name} is not written, but kept as .*{problem}"):
        exported(model, "torch")
    assert files(tmp_path / "out") == {name, f"{name}.refused"}
    assert (tmp_path / "out" / name).read_text() == "of an earlier export"


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (partial(dense, (4,)), lambda x: x + 1e-5),
        (partial(small, GAN), one_pixel(2)),
        (FunctionMLP, lambda x: x + 5e-5 * (x.max() - x.min())),
    ],
)
def test_what_nobody_would_see_is_accepted(kind, change, exported, monkeypatch):
    monkeypatch.setattr(torch.export, "load", partial(Changed, change))
    assert len(files(exported(shaken(kind()), "torch"))) == 1


def test_another_class_is_refused_unless_two_are_nearly_equal(exported):
    near = torch.tensor([[0.4002, 0.3998, 0.2]])
    assert _compare_probabilities(near[:, [1, 0, 2]], near) == ("4.0e-04", True)
    clear = torch.tensor([[0.4008, 0.3992, 0.2]])
    assert _compare_probabilities(clear[:, [1, 0, 2]], clear) == (
        "1.6e-03, with another class",
        False,
    )


@pytest.mark.extras
@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_a_flow_is_a_graph_with_one_body_for_all_steps(solver, exported):
    import onnx

    options = {"guidance": 0.5, "guidance_interval": (0.2, 0.7), "class_dropout": 0.1}
    model = shaken(Flow((1, 8, 8), 3, steps=10, solver=solver, **options))
    out = exported(model, "onnx", "torch")
    graph = onnx.load(out / "generator.onnx").graph
    assert [node.op_type for node in graph.node].count("Scan") == 1
    weights = sum(4 * value.numel() for value in model.eval_network.parameters())
    for file in out.iterdir():
        assert file.stat().st_size <= 1.3 * weights + 1e6
        assert str(Path(__file__).parents[2]).encode() not in file.read_bytes()


def test_slow_files_are_announced(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("commands.export.SLOW", 0.01)
    _write(tmp_path / "a.onnx", lambda path: time.sleep(0.1) or "equal")
    assert capsys.readouterr().out.startswith("a.onnx: recording it and comparing")


def program_in(card: str) -> str:
    return card.partition("```python\n")[2].partition("```")[0]


@pytest.mark.extras
@pytest.mark.parametrize("formats", [["onnx", "torch"], ["torch"], ["safetensors"]])
@pytest.mark.parametrize("kind", ["residual", "iris", "function", "lecture-gan", "flow"])
def test_the_program_of_a_card_runs_without_this_project(kind, formats, exported):
    out = exported(shaken(MODELS[kind]()), *formats)
    program = program_in((out / CARD).read_text())
    assert len(program.splitlines()) <= 15
    block = RUN.partition("import numpy")[0].format(blocked=PROJECT)
    command = [sys.executable, "-c", block + program]
    result = subprocess.run(command, cwd=out, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout
    assert "onnxruntime" not in result.stderr  # a warning


def test_a_card_describes_model_data_and_scores(cgan, tmp_path):
    """Names of somebody else are no Markdown."""
    folder = shutil.copytree(cgan, tmp_path / "cgan" / "version_0")
    step = checkpoints.saved_step(folder / "checkpoints" / "last.ckpt")
    data = {"title": "A <b>|`", "content": "12ab", "counts": {"test": 300}}
    entry = {"checkpoint": {"name": "last", "step": step}, "data": data, "own_data": True}
    entry |= {"seed": 1, "time": "2026-12-01T10:00:00+00:00", "scores": {"accuracy": 0.9}}
    entry |= {"intervals": {"accuracy": [0.86, 0.93]}, "floor": {"accuracy": 0.99}}
    other = entry | {"checkpoint": {"name": "first", "step": 1}, "scores": {"accuracy": 0.1}}
    (folder / "metrics.json").write_text(json.dumps({"test": [entry, other]}))
    export(folder, ["torch"], tmp_path / "out")
    card = (tmp_path / "out" / CARD).read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head == {
        "license": None,
        "tags": ["pytorch-lightning", "generator", "torch"],
        "metrics": ["accuracy"],
    }
    assert "| takes | `latents` | (N, 4) | float32 | random numbers |" in card
    assert "| takes | `labels` | (N) | int64 | number of a class |" in card
    assert "| gives | `images` | (N, 1, 28, 28) | float32 | gray or RGB, 0 to 1 |" in card
    assert "A &#60;b&#62;&#124;&#96;: 300 test. Hash of the content: 12ab." in card
    assert "| accuracy | 0.9 | 0.86 to 0.93 | 0.99 |" in card
    assert f"step {step:,}." in card
    for number, said in ((1, "1"), (None, "unknown")):
        other["checkpoint"]["step"] = number
        (folder / "metrics.json").write_text(json.dumps({"test": [other]}))
        export(folder, ["torch"], tmp_path / "out")
        card = (tmp_path / "out" / CARD).read_text()
        assert f"of step {said}, another checkpoint" in card
    (folder / "metrics.json").unlink()
    export(folder, ["torch"], tmp_path / "out")
    assert "Scores: not measured." in (tmp_path / "out" / CARD).read_text()


def test_a_diverged_model_is_refused(exported):
    model = shaken(GateMLP())
    nn.init.constant_(next(model.parameters()), float("nan"))
    with pytest.raises(UserError, match="not finite numbers"):
        exported(model, "torch")


def test_a_model_of_another_kind_and_a_missing_library_are_refused(exported, monkeypatch):
    with pytest.raises(UserError, match="generative models, not Linear"):
        exported(nn.Linear(2, 2), "torch")
    monkeypatch.setattr("commands.export.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'needs onnx: pip install -e "\.\[export\]"'):
        exported(GateMLP(), "onnx")


class CountsByLen(GAN):
    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return super().forward(latents, labels).view(len(latents), *self.image_shape)


def test_a_forward_that_counts_by_len_is_named(exported):
    with pytest.raises(UserError, match=r"^generator.pt2 is not .*: write x.shape\[0\] for len\(x"):
        exported(small(CountsByLen), "torch")


def test_the_cause_of_an_exporters_error_is_one_line(tmp_path):
    def fail(path: Path) -> str:
        raise RuntimeError("a long report") from ValueError("no operator\nfor svd")

    with pytest.raises(UserError, match="^a.onnx is not written: no operator for svd$"):
        _write(tmp_path / "a.onnx", fail)
    assert files(tmp_path) == set()


def test_ctrl_c_leaves_no_file(tmp_path):
    def interrupted(path: Path) -> str:
        path.write_text("a part")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _write(tmp_path / "a.onnx", interrupted)
    assert files(tmp_path) == set()
