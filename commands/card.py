"""The card of an exported model: `README.md`, as model hubs show it, with a program that runs."""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from results import Run
from runtime import checkpoints
from runtime.errors import printable

MEANINGS = {
    "latents": "random numbers",
    "labels": "number of a class",
    "images": "gray or RGB, 0 to 1",
    "probabilities": "0 to 1",
    "logits": "numbers, whose softmax or sigmoid are the probabilities",
}
LOADERS = {  # import, and how a written file computes
    "onnx": (
        "import onnxruntime",
        """model = onnxruntime.InferenceSession("{file}")
names = [output.name for output in model.get_outputs()]
outputs = dict(zip(names, model.run(names, inputs)))""",
    ),
    "torch": (
        "import torch",
        """model = torch.export.load("{file}").module()
outputs = model(**{{name: torch.from_numpy(value) for name, value in inputs.items()}})""",
    ),
}
WEIGHTS = """```python
from safetensors.torch import load_file
weights = load_file("{file}")
print([*weights])
```"""


def card_of(
    model: Any,
    name: str,
    inputs: Mapping[str, Tensor],
    outputs: Mapping[str, Tensor],
    files: Mapping[str, str],
    run: Run | None,
) -> str:
    """Returns the card of a model.

    Args:
        model: The model.
        name: Kind of the program: `classifier`, `generator` or `regressor`.
        inputs: Examples by name.
        outputs: What the program computes, by name.
        files: Names of the written files by format.
        run: The run that has trained it; None: it is not of a run.
    """
    step = (checkpoints.saved_step(run.checkpoint) or 0) if run else None
    tested = [r for r in run.results("test") if r["own_data"]] if run else []
    same = [result for result in tested if result["checkpoint"]["step"] == step]
    result = next(reversed(same or tested), None)
    kind = type(model).__name__
    head = [
        "license: # yours to choose",
        f"tags: {json.dumps(['pytorch-lightning', name, *files])}",
    ]
    head += [f"metrics: {json.dumps([*map(_plain, result['scores'])])}"] if result else []
    rows = [
        [way, *_describe(key, value)]
        for way, values in (("takes", inputs), ("gives", outputs))
        for key, value in values.items()
    ]
    classes = (model.input_spec and model.input_spec.class_names) or ()
    parts = [
        "\n".join(["---", *head, "---"]),
        f"# {_plain(run.name) if run else kind}",
        f"A {name} ({kind}) that [Lightning](https://lightning.ai) has trained. N is any number.",
        _table(["", "name", "shape", "type", "values"], rows),
        f"Classes, from 0: {', '.join(map(_plain, classes))}." if classes else "",
        *(_measured(result, step) if result else [NOT_MEASURED]),
        "## Use",
        _program(inputs, outputs, files),
        "## Made with",
        f"Checkpoint `{_plain(run.checkpoint.name)}`, step {step:,}." if run else "",
        f"`python cli.py export RUN --format {' '.join(files)}`, with torch {version('torch')} and "
        f"Lightning {version('lightning')}.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


NOT_MEASURED = "Scores: not measured. `python cli.py test RUN` measures them, then export again."


def _describe(name: str, value: Tensor) -> list[str]:
    meaning = MEANINGS.get(name, "numbers, as in training")
    if value.dtype == torch.uint8:
        meaning = "gray or RGB, 0 to 255"
    shape = ", ".join(["N", *map(str, value.shape[1:])])
    return [f"`{name}`", f"({shape})", str(value.dtype).removeprefix("torch."), meaning]


def _measured(result: Mapping[str, Any], step: int | None) -> list[str]:
    """Returns the sections about data and scores."""
    data, measured = result["data"], result["checkpoint"]["step"]
    counts = ", ".join(f"{count:,} {_plain(name)}" for name, count in data["counts"].items())
    rows, floors = [], result.get("floor")
    for name, value in result["scores"].items():
        around = map(_number, result.get("intervals", {}).get(name, ()))
        rows.append([_plain(name), _number(value), " to ".join(around)])
        rows[-1] += [_number(floors.get(name))] if floors else []
    another = "" if measured == step else f", of step {measured or 'unknown'}, another checkpoint"
    return [
        "## Data",
        f"{_plain(data['title'])}: {counts}. Hash of the content: {_plain(str(data['content']))}.",
        "## Scores",
        f"On the test split, {_plain(result['time'])}{another}.",
        _table(["score", "value", "95 % interval", "of real images"][: len(rows[0])], rows),
    ]


def _program(
    inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor], files: Mapping[str, str]
) -> str:
    """Returns a short program that runs the first of the files."""
    kind = next((kind for kind in LOADERS if kind in files), None)
    if kind is None:
        return WEIGHTS.format(file=files["safetensors"])
    module, compute = LOADERS[kind]
    values = []
    for name, value in inputs.items():
        shape = f"{(4, *value.shape[1:])}"
        drawn = f"np.random.standard_normal({shape}).astype(np.float32)"
        if value.dtype == torch.uint8:
            drawn = f"np.zeros({shape}, np.uint8)  # your images"
        elif not value.is_floating_point():
            drawn = f"np.zeros({shape}, np.int64)  # your classes"
        elif name == "latents" and bool((value >= 0).all()):
            drawn = f"np.random.random({shape}).astype(np.float32)"
        values.append(f'inputs["{name}"] = {drawn}')
    shown = [*outputs][-1]
    lines = ["import numpy as np", module, "inputs = {}", *values, compute.format(file=files[kind])]
    return "\n".join(["```python", *lines, f'print(outputs["{shown}"])', "```"])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _plain(text: str) -> str:
    """Returns text of somebody else, none of which is Markdown."""
    return "".join(c if c.isalnum() or c in " .,:+-_/" else f"&#{ord(c)};" for c in printable(text))
