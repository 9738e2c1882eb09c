"""The Trainer's method `export` writes files that run without this project."""

import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn

import models
from commands import export_formats
from commands.export import Export
from datamodules.frame import Frame
from models import (
    GAN,
    VGG16,
    AuxiliaryHead,
    ConditionalGAN,
    FeedForward,
    FunctionMLP,
    GateLogistic,
    GateMLP,
    ImageClassifier,
    LectureConvNet,
    NormalizedSigmoidHead,
    ProjectionHead,
    SoftmaxHead,
)
from models.exportable import programs_of
from models.gan_networks import ModernTrunk
from tests.models.classifiers import SHAPE, convnet, dense, iris, trainer
from tests.models.gans import DROPOUT, LECTURE, small
from tests.test_cli import fails, run

NAMES = tuple(f"class {k}" for k in range(10))
# Run first in a process to which neither torch nor this project is known.
WITHOUT = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Block())
"""
PROJECT = {"callbacks", "cli", "commands", "datamodules", "metrics", "models", "runtime"}
RUN = """
import numpy as np, onnxruntime
for name in sys.argv[1:]:
    session = onnxruntime.InferenceSession(f"{name}.onnx")
    given = dict(np.load(f"{name}.inputs.npz"))
    outputs = [output.name for output in session.get_outputs()]
    found = session.run(None, given)
    np.savez(f"{name}.outputs.npz", **dict(zip(outputs, found)))
assert "torch" not in sys.modules and not BLOCKED & sys.modules.keys()
"""


class ExportingTrainer(Export, Trainer):
    pass


class Sorting(nn.Module):
    """Singular values, for which ONNX has no operator."""

    def forward(self, features: Tensor) -> Tensor:
        return torch.linalg.svdvals(features.unflatten(1, (2, -1)))


class Branching(nn.Module):
    """Computes what depends on the data, which cannot be traced."""

    def forward(self, features: Tensor) -> Tensor:
        return features if features.sum() > 0 else -features


class Custom(nn.Sequential):
    """A network with a layer of the user's."""

    def __init__(self, input_shape: Any, num_outputs: int, layer: str = "Sorting") -> None:
        custom = {"Sorting": Sorting, "Branching": Branching}[layer]()
        super().__init__(nn.Flatten(), nn.Linear(784, 20), custom, nn.LazyLinear(num_outputs))
        self(torch.zeros(1, *input_shape))


def image_classifier(network: Any, **kwargs: Any) -> ImageClassifier:
    return ImageClassifier(SHAPE, 10, network, **kwargs)


MODELS: dict[str, Any] = {
    "residual": partial(convnet, ema_decay=0.9, flip=True, flip_in_evaluation=True),
    "residual_moved": partial(convnet, shift_in_evaluation=1),
    "vgg": partial(image_classifier, partial(VGG16, width=0.03)),
    "lecture": partial(image_classifier, LectureConvNet, loss="bce"),
    "dense": partial(image_classifier, partial(FeedForward, dropout=0.5, batch_norm=True)),
    "iris": partial(iris, [8], "tanh"),
    "logistic": GateLogistic,
    "gate": GateMLP,
    "function": FunctionMLP,
    "gan": partial(small, GAN, image_shape=(3, 16, 20), ema_decay=0.9),
    "lecture-gan": partial(small, **LECTURE | DROPOUT, latent="uniform"),
    "softmax": partial(small, ConditionalGAN, head=SoftmaxHead),
    "sigmoid": partial(small, ConditionalGAN, head=NormalizedSigmoidHead),
    "auxiliary": partial(small, ConditionalGAN, head=AuxiliaryHead),
    "projection": partial(small, ConditionalGAN, head=ProjectionHead, ema_decay=0.9),
    "batch-norm": partial(small, ConditionalGAN, conditioning="batch_norm"),
    "embedding": partial(small, ConditionalGAN, conditioning="embedding", spectral_norm=True),
}


def shaken(model: Any) -> Any:
    """Moves all weights and batch statistics, so that no network equals its average."""
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor += 0.03 * torch.rand_like(tensor)  # variances stay positive
    return model


def checkpoint(model: Any, path: Path, scale: float | None = 255.0) -> Path:
    """Writes a checkpoint whose data have this scale; None: it does not say."""
    shape = model.image_shape if isinstance(model, GAN) else model.input_shape
    names = NAMES[: getattr(model, "num_classes", 0)]
    data = {"identity": {"standardize": True}, "frame": Frame(shape, scale or 1.0, names)._asdict()}
    hparams = {"_class_path": f"models.{type(model).__name__}", **model.hparams}
    content = {"state_dict": model.state_dict(), "hyper_parameters": hparams}
    torch.save(content | ({"Iris": data} if scale else {}), path)
    return path


def export(model: Any, folder: Path, *formats: Any, scale: float | None = 255.0) -> Path:
    """Exports a model into `folder/out`."""
    path = checkpoint(model, folder / "model.ckpt", scale)
    trainer(kind=ExportingTrainer).export(model, path, format=formats, out=folder / "out")
    return folder / "out"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def code(readme: Path, title: str) -> str:
    """Returns the code in a README below a heading."""
    (found,) = re.findall(rf"## Run with {title}\n.*?```python\n(.*?)```", readme.read_text(), re.S)
    return found


def python(script: str, folder: Path, *args: str, blocked: set[str] = PROJECT) -> str:
    """Runs a script in a folder, in a process without the blocked packages."""
    start = f"BLOCKED = {blocked!r}\n{WITHOUT}"
    command = [sys.executable, "-I", "-c", start + script, *args]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_torch_program_says_what_it_takes_and_computes_what_the_model_computes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = shaken(convnet(ema_decay=0.9))
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
    model = small(ConditionalGAN, ema_decay=0.9)
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
    with pytest.raises(MisconfigurationException, match=remedy):
        export(GateMLP(), tmp_path, format)
    assert names(tmp_path) == {"model.ckpt"}


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(MisconfigurationException, match=r"--out .*/out: cannot be written to"):
        export(GateMLP(), tmp_path, "torch")


def test_weights_and_models_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    exporter: Any = trainer(kind=ExportingTrainer)
    with pytest.raises(MisconfigurationException, match="without --ckpt_path"):
        exporter.export(GateMLP())
    with pytest.raises(MisconfigurationException, match="GANs, not BoringModel"):
        exporter.export(BoringModel(), tmp_path / "model.ckpt")
    diverged = GateMLP()
    nn.init.constant_(next(diverged.parameters()), float("nan"))
    with pytest.raises(MisconfigurationException, match="not finite numbers"):
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
    with pytest.raises(
        MisconfigurationException, match=f"classifier.pt2 is not written: {problem}"
    ):
        export(dense((4,)), tmp_path, "torch")
    assert names(tmp_path) == {"model.ckpt"}


def test_large_outputs_may_differ_by_as_much_as_float32_does() -> None:
    (program,) = programs_of(dense((4,)), 255.0)
    nn.init.constant_(program.model.network[-1].bias, 1000.0)

    def moved(by: float) -> Any:
        return lambda **inputs: {k: v + by for k, v in program(**inputs).items()}

    difference = export_formats.largest_difference(program, moved(5e-3))
    assert difference == pytest.approx(5e-3, rel=0.05)
    with pytest.raises(MisconfigurationException, match=r"1\.0e-02 is allowed"):
        export_formats.largest_difference(program, moved(2e-2))


def test_a_layer_that_cannot_be_traced_is_named(tmp_path: Path) -> None:
    model = image_classifier(partial(Custom, layer="Branching"))
    wanted = r"classifier.pt2 is not written: layer network.2 \(Branching\) cannot be expressed"
    with pytest.raises(MisconfigurationException, match=wanted):
        export(model, tmp_path, "torch")
    assert names(tmp_path) == {"model.ckpt"}


@pytest.mark.extras
def test_a_layer_that_onnx_lacks_is_named_and_other_formats_are_kept(tmp_path: Path) -> None:
    wanted = r"^classifier.onnx is not written: layer network.2 \(Sorting\) cannot be .*svd"
    with pytest.raises(MisconfigurationException, match=wanted) as caught:
        export(image_classifier(Custom), tmp_path, "onnx", "torch", "safetensors")
    assert "\n" not in str(caught.value)
    out = tmp_path / "out"
    assert names(out) == {"classifier.pt2", "model.safetensors", "model.json", "README.md"}


@pytest.mark.extras
def test_weights_too_large_for_onnx_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_formats, "LARGEST_ONNX", 10)
    with pytest.raises(MisconfigurationException, match="an ONNX file holds 2 GB"):
        export(GateMLP(), tmp_path, "onnx")


@pytest.mark.extras
@pytest.mark.parametrize("kind", MODELS)
def test_every_model_runs_without_torch_and_this_project(
    kind: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    model = shaken(MODELS[kind]())
    out = export(model, tmp_path, "onnx", "safetensors")
    programs = programs_of(model, 255.0)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(programs) + 2  # with safetensors and the README
    assert not [str(w.message) for w in recwarn if "torch" in w.filename.split("/")]
    for program in programs:
        given = {name: value.numpy() for name, value in program.examples(7).items()}
        np.savez(out / f"{program.name}.inputs.npz", **given)  # type: ignore[arg-type]
    blocked = PROJECT | {"torch", "lightning"}
    readme = code(out / "README.md", "ONNX Runtime")
    stems = [program.name for program in programs]
    printed = python(f"{readme}\n{RUN}", out, *stems, blocked=blocked)
    for program in programs:
        with np.load(out / f"{program.name}.outputs.npz") as outputs:
            found = dict(outputs)
        wanted = program(**program.examples(7))
        assert [*found] == [*wanted]
        for name, value in wanted.items():
            torch.testing.assert_close(torch.from_numpy(found[name]), value, rtol=1e-5, atol=1e-5)
    if kind == "iris":
        assert re.fullmatch(r"\['class [012]', .*\]\n", printed)
    if kind == "gan":
        assert re.fullmatch(r"\[[01]\S* +\S+ +\S+\]\n", printed)  # P(real) of three images


@pytest.mark.extras
def test_an_onnx_file_says_what_it_is(tmp_path: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(export(iris([8]), tmp_path, "onnx") / "classifier.onnx")
    (given,) = session.get_inputs()
    assert (given.name, given.type, given.shape) == ("inputs", "tensor(float)", ["batch", 4])
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["class_names"]) == [*NAMES[:3]]
    assert json.loads(metadata["training_data"]) == {"class": "Iris", "standardize": True}
    assert metadata["opset"].isdecimal()
    assert metadata.keys() >= {"scale", "input_shape", "ladder_version", "checkpoint_sha256"}


@pytest.mark.extras
def test_safetensors_build_the_model_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = shaken(small(ConditionalGAN, ema_decay=0.9))
    out = export(model, tmp_path, "safetensors")
    assert names(out) == {"model.safetensors", "model.json", "README.md"}
    assert (out / "model.safetensors").stat().st_mode & 0o777 == (
        out / "model.json"
    ).stat().st_mode & 0o777
    monkeypatch.chdir(out)
    found: dict[str, Any] = {}
    exec(code(out / "README.md", "Ladder"), found)
    assert isinstance(found["model"], models.ConditionalGAN)
    for name, value in model.state_dict().items():
        assert torch.equal(found["model"].state_dict()[name], value), name
