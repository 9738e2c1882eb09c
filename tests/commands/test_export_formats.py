"""ONNX files and safetensors compute what the model computes, elsewhere."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import models
from models import (
    GAN,
    VGG16,
    AuxiliaryHead,
    ConditionalGAN,
    FeedForward,
    FunctionMLP,
    GateLogistic,
    GateMLP,
    LectureConvNet,
    NormalizedSigmoidHead,
    ProjectionHead,
    SoftmaxHead,
)
from models.averaging import Averaging
from models.exportable import programs_of
from tests.commands.exports import (
    NAMES,
    PROJECT,
    code,
    export,
    image_classifier,
    names,
    python,
    shaken,
)
from tests.models.classifiers import convnet, iris
from tests.models.gans import DROPOUT, LECTURE, small

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


MODELS: dict[str, Any] = {
    "residual": partial(convnet, average=Averaging(0.9), flip=True, flip_in_evaluation=True),
    "residual_moved": partial(convnet, shift_in_evaluation=1),
    "vgg": partial(image_classifier, partial(VGG16, width=0.03)),
    "lecture": partial(image_classifier, LectureConvNet, loss="bce"),
    "dense": partial(image_classifier, partial(FeedForward, dropout=0.5, batch_norm=True)),
    "iris": partial(iris, [8], "tanh"),
    "logistic": GateLogistic,
    "gate": GateMLP,
    "function": FunctionMLP,
    "gan": partial(small, GAN, image_shape=(3, 16, 20), average=Averaging(0.9)),
    "lecture-gan": partial(small, **LECTURE | DROPOUT, latent="uniform"),
    "softmax": partial(small, ConditionalGAN, head=SoftmaxHead),
    "sigmoid": partial(small, ConditionalGAN, head=NormalizedSigmoidHead),
    "auxiliary": partial(small, ConditionalGAN, head=AuxiliaryHead),
    "projection": partial(small, ConditionalGAN, head=ProjectionHead, average=Averaging(0.9)),
    "batch-norm": partial(small, ConditionalGAN, conditioning="batch_norm"),
    "embedding": partial(small, ConditionalGAN, conditioning="embedding", spectral_norm=True),
}


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
    model = shaken(small(ConditionalGAN, average=Averaging(0.9)))
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
