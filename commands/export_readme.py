"""The `README.md` beside exported files: what they take and return, and code that runs them."""

import json
from collections.abc import Sequence

from torch import Tensor

from commands.export_formats import File, Metadata
from models.exportable import ClassifierOfPixels, Program

TITLES = {"onnx": "ONNX Runtime", "pt2": "PyTorch alone", "safetensors": "Ladder"}
INSTALL = {"onnx": "onnxruntime numpy", "pt2": "torch numpy"}
WEIGHTS = """
import json
from pkgutil import resolve_name

from lightning.pytorch.cli import instantiate_module
from safetensors.torch import load_model

config = json.load(open("model.json"))
model = instantiate_module(resolve_name(config["class_path"]), config["init_args"]).eval()
load_model(model, "model.safetensors")
""".strip()


def readme(files: Sequence[File], metadata: Metadata) -> str:
    """Returns the text for these files."""
    kind = metadata["model"].rpartition(".")[2]
    parts = [
        f"# {kind}, exported by Ladder {metadata['ladder_version']}",
        f"Weights: checkpoint with SHA-256 `{metadata['checkpoint_sha256']}`.",
    ]
    programs = {program.name: program for file in files for program in file.programs}
    parts.append("\n".join(_table([*programs.values()])))
    if names := json.loads(metadata["class_names"]):
        parts.append(f"Classes, in the order of their numbers: {', '.join(names)}.")
    if any("inputs" in program.inputs for program in programs.values()):
        parts.append(f"Training data, whose form the inputs must have: {_data(metadata)}.")
    for suffix, title in TITLES.items():
        chosen = [file for file in files if file.name.endswith(f".{suffix}")]
        if not chosen:
            continue
        if suffix == "safetensors":
            how, code = _how_to_load([*programs.values()], metadata), WEIGHTS
        else:
            how = f"`pip install {INSTALL[suffix]}`, then in this folder:"
            code = _code([file.programs[0] for file in chosen], suffix, names)
        parts += [f"## Run with {title}", f"{how}\n```python\n{code}\n```"]
    return "\n\n".join(parts) + "\n"


def _how_to_load(programs: Sequence[Program], metadata: Metadata) -> str:
    scale = " It takes pixels divided by " + metadata["scale"] + ", as float32."
    pixels = any(isinstance(program, ClassifierOfPixels) for program in programs)
    return (
        "With Ladder's folder in `PYTHONPATH`, this code builds the model in this folder."
        f"{scale if pixels else ''}"
    )


def _table(programs: Sequence[Program]) -> list[str]:
    lines = ["| program | inputs | outputs |", "|---|---|---|"]
    for program in programs:
        given = program.examples(3)
        inputs = [
            _describe(name, given[name], value.meaning) for name, value in program.inputs.items()
        ]
        found = program(**given)
        outputs = [_describe(name, found[name], text) for name, text in program.outputs.items()]
        lines.append(f"| {program.name} | {'<br>'.join(inputs)} | {'<br>'.join(outputs)} |")
    return [*lines, "", "N is any number of examples."]


def _describe(name: str, tensor: Tensor, meaning: str) -> str:
    shape = ", ".join(map(str, ("N", *tensor.shape[1:])))
    return f"`{name}` {str(tensor.dtype).removeprefix('torch.')} ({shape}): {meaning}"


def _data(metadata: Metadata) -> str:
    data = json.loads(metadata["training_data"])
    settings = [f"{name} = {value}" for name, value in data.items() if name != "class"]
    return ", ".join([data.get("class", "not known"), *settings])


def _code(programs: Sequence[Program], suffix: str, names: list[str] | None) -> str:
    """Returns code that runs the programs one after the other, each on outputs of those before."""
    lines = ["import numpy as np", f"import {'onnxruntime' if suffix == 'onnx' else 'torch'}", ""]
    known: set[str] = set()
    for program in programs:
        for name, value in program.inputs.items():
            if name not in known:
                code = value.code if suffix == "onnx" else f"torch.from_numpy({value.code})"
                lines.append(f"{name} = {code}  # yours: {value.meaning}")
        known |= {*program.inputs, *program.outputs}
        lines += _call(program, f'"{program.name}.{suffix}"', suffix)
    if "images" in program.outputs:
        return "\n".join([*lines, "print(images.shape)"])
    shown = [*program.outputs][-1]
    if names and program.name == "classifier":
        lines.append(f"names = {json.dumps(names, ensure_ascii=False)}")
        shown = "[names[k] for k in probabilities.argmax(1)]"
    return "\n".join([*lines, f"print({shown})"])


def _call(program: Program, file: str, suffix: str) -> list[str]:
    """Returns two lines: one loads the file, and one runs it on variables named as the inputs."""
    name, outputs = program.name, ", ".join(program.outputs)
    outputs = outputs if len(program.outputs) > 1 else f"({outputs},)"
    if suffix == "onnx":
        given = ", ".join(f'"{key}": {key}' for key in program.inputs)
        load = f"onnxruntime.InferenceSession({file})"
        return [f"{name} = {load}", f"{outputs} = {name}.run(None, {{{given}}})"]
    given = ", ".join(f"{key}={key}" for key in program.inputs)
    load = f"torch.export.load({file}).module()"
    return [f"{name} = {load}", f"{outputs} = {name}({given}).values()"]
