"""A trained run as data for the page: its network as a list of operators, weights, and pictures.

`Program` records which operators torch calls, and `scripts/tensors.js` computes the same ones.
"""

import base64
import json
import re
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import FlopCounterMode

import metrics
from callbacks.judges import PRETRAINED, find_judge
from datamodules.data_module import Split
from datamodules.input_spec import InputSpec, class_names
from models.classifier import Classifier
from models.generative import Generative, to_pixels
from models.inspection import last_layer
from models.sampling import LatentBatches
from results import Run
from runtime.errors import UserError

RUN_BYTES = 2_650_000  # of a run in the page, of which the file may have 3 MB
LARGE_MATRIX = 2**16  # weights of a matrix that may have fewer than 16 bits each
FINENESS = 0, *range(48, 10, -2)  # levels in a row's standard deviation, see `encode`; 0: float16
TOLERANCE = 1e-2  # largest root mean square difference from PyTorch of values in [0, 1]
TRIALS = 10  # inputs to compare with PyTorch
MOST_WORK = 1.2e9  # multiplications for one picture, for which a browser takes three seconds
PAIRS = 25  # real and generated images for the quiz
CANDIDATES = 2000  # validation images that a classifier is asked about
PICTURE_BYTES = 600_000  # of images in the file, before compression
MOST_UNITS, PER_UNIT, MOST_MISTAKES = 24, 6, 24
SCORES = "accuracy", "frechet"
ELSEWHERE = "export it with --format onnx"
SCRIPT = Path(__file__).with_name("scripts") / "tensors.js"
SHAPE_ONLY = {"new_full", "new_zeros", "new_ones", "full_like", "zeros_like", "ones_like"}


class Reference(dict[str, Any]):
    """The `index` of an "input", a "weight" or a "step", and the `part` of a step's results."""


class Program(TorchDispatchMode):
    """The operators that a function calls, one after the other, for inputs of one shape.

    What does not depend on the inputs is computed once and becomes a weight.
    """

    def __init__(self, function: Callable[..., Tensor], *inputs: Tensor) -> None:
        super().__init__()
        self.weights: list[Tensor] = []
        self._indices: dict[tuple[Any, ...], int] = {}  # of weights, by their content
        self.steps: list[tuple[Any, list[Any], tuple[int, ...]]] = []  # operator, inputs, shape
        # With the tensors themselves, so that no other one gets their identity
        self._known = {id(x): (x, Reference(kind="input", index=k)) for k, x in enumerate(inputs)}
        with torch.no_grad(), self:
            outputs = function(*inputs)
        self.result = self._refer(outputs)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs, kwargs = func(*args, **(kwargs or {})), kwargs or {}
        depends = any(id(value) in self._known for value in tree_leaves((args, kwargs)))
        if depends and name_of(func) not in SHAPE_ONLY:
            given = [args[k] if k < len(args) else kwargs.get(a.name, a.default_value)
                     for k, a in enumerate(func._schema.arguments)]  # fmt: skip
            parts = [part for part in tree_leaves(outputs) if isinstance(part, Tensor)]
            shape, given = tuple(parts[0].shape if parts else ()), tree_map(self._refer, given)
            for k, part in enumerate(parts):
                step = Reference(kind="step", index=len(self.steps), part=k)
                self._known[id(part)] = part, step
            self.steps.append((func, given, shape))
        return outputs

    def _refer(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if id(value) in self._known:
            return self._known[id(value)][1]
        value = value.detach().clone(memory_format=torch.contiguous_format)
        key = value.shape, value.dtype, value.numpy().tobytes()
        if self._indices.setdefault(key, len(self.weights)) == len(self.weights):
            self.weights.append(value)
        return Reference(kind="weight", index=self._indices[key])

    def __call__(self, *inputs: Tensor, weights: Sequence[Tensor]) -> Tensor:
        """Computes the function with these weights, as the page does."""
        values: dict[str, Any] = {"input": inputs, "weight": weights, "step": []}

        def value_of(part: Any) -> Any:
            if not isinstance(part, Reference):
                return part
            value = values[part["kind"]][part["index"]]
            return value if isinstance(value, Tensor) else value[part["part"]]

        for func, given, _ in self.steps:
            names = [argument.name for argument in func._schema.arguments]
            named = dict(zip(names, tree_map(value_of, given), strict=True))
            if func._schema.is_mutable:  # the page changes no value in place
                named[names[0]] = named[names[0]].clone()
            values["step"].append(func(**named))
        result: Tensor = value_of(self.result)
        return result

    def as_json(self) -> str:
        """Returns steps as lists [operator, shape of its result, *inputs], and the result."""
        known = {*re.findall(r"(\w+): ", SCRIPT.read_text("utf-8"))}
        if missing := {name_of(func) for func, *_ in self.steps} - known:
            raise UserError(f"a page lacks {', '.join(sorted(missing))} of torch: {ELSEWHERE}")
        steps = [[name_of(func), shape, *given] for func, given, shape in self.steps]
        program = {"steps": steps, "result": self.result}
        # The page needs no dtype, device and the like.
        return json.dumps(program, default=lambda _: None, allow_nan=False)


def name_of(func: Any) -> str:
    """Returns an operator's name; `relu_` is `relu`, because the page changes nothing in place."""
    name: str = func.overloadpacket.__name__
    return name if name[0] == "_" else name.removesuffix("_")


def run_data(run: Run, real: bool = True) -> dict[str, Any]:
    """Returns a run as data for the page, and prints how many real images are in it.

    Weights are float16. If the data would then be larger than `RUN_BYTES`, those of large matrices
    have 8 bits or fewer, with a scale for each row, as fine as the limit allows.

    Args:
        run: A generator or classifier of images.
        real: Put some validation images into the page, if there are any.

    Raises:
        UserError: The page cannot compute the network, in this size.
    """
    with torch.random.fork_rng(devices=[]), torch.autocast("cpu", enabled=False), torch.no_grad():
        model = run.model().cpu().float()
        data, function, trials = describe(model, run)
        program = record(function, [part[:1] for part in trials])
        data["program"] = pack(program.as_json().encode())
        pictures: dict[bytes, int] = {}
        if real:
            data |= of_validation_images(model, run, pictures)
        data["pictures"] = pack(b"".join(pictures))

        def fits(fineness: int) -> bool:
            return len(json.dumps(data | encode(program.weights, fineness)[0])) <= RUN_BYTES

        if fits(FINENESS[-1]):
            encoded, stored = encode(program.weights, next(filter(fits, FINENESS)))
            check(partial(program, weights=stored), function, trials)
            return data | encoded
    count = sum(value.numel() for value in program.weights)
    raise UserError(
        f"{count / 1e6:.1f} million weights do not fit into 3 MB: train a narrower network "
        f"(ModernGenerator and ResidualConvNet have a width), or {ELSEWHERE}"
    )


def describe(model: Any, run: Run) -> tuple[dict[str, Any], Callable[..., Tensor], list[Tensor]]:
    """Returns what the page says of a model, the model as a function, and inputs to try.

    Raises:
        UserError: The page does not show such a model.
    """
    kind, random = type(model).__name__, torch.Generator().manual_seed(0)
    reached = [kind]
    for name, value in run.scores().items():
        stage, _, score = name.partition("/")
        if score in SCORES and value is not None:
            low, high = run.intervals().get(name, (None, None))
            interval = "" if low is None else f" [{low:.3f}, {high:.3f}]"
            reached.append(f"{metrics.title(score)} {value:.4g}{interval} ({stage})")
    data: dict[str, Any] = {"name": run.name, "about": ", ".join(reached)}
    if isinstance(model, Generative) and len(model.image_shape) == 3:
        classes = class_names(model.input_spec, model.num_classes) if model.num_classes else None
        data |= {"kind": "generator", "shape": [*model.image_shape], "classes": classes}
        data |= {"latent": model.latent, "latent_dim": model.latent_dim}
        inputs = [model.draw_latents(TRIALS, random)[0]]
        if classes:
            inputs.append(torch.eye(len(classes))[torch.arange(TRIALS) % len(classes)])
        function: Callable[..., Tensor] = model
    elif isinstance(model, Classifier) and len(model.input_shape) == 3:
        spec = model.input_spec or InputSpec(model.input_shape, 255.0)
        classes = class_names(spec, model.num_classes)
        data |= {"kind": "classifier", "shape": [*model.input_shape], "classes": classes}
        data |= {"spec": spec._replace(class_names=None)._asdict()}
        inputs = [torch.rand(TRIALS, *model.input_shape, generator=random) * 255 / spec.scale]
        function = model.probabilities
    else:
        raise UserError(f"a page shows models of images, and this {kind} is none: {ELSEWHERE}")
    return data, function, inputs


def record(function: Callable[..., Tensor], inputs: list[Tensor]) -> Program:
    """Returns the operators of a network, unless it cannot run or takes too long for a browser."""
    try:
        with FlopCounterMode(display=False) as counter:
            program = Program(function, *inputs)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:  # of a user's network
        reason = shorten(str(error), 200)
        raise UserError(f"a page cannot run this network ({reason}): {ELSEWHERE}") from error
    if (work := counter.get_total_flops() / 2) > MOST_WORK:
        raise UserError(
            f"one image takes {work / 1e9:.1f} billion multiplications, and a page computes "
            f"{MOST_WORK / 1e9:g} billion in three seconds: train a smaller network, or {ELSEWHERE}"
        )
    return program


def pack(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 9)).decode()


def encode(weights: Sequence[Tensor], fineness: int) -> tuple[dict[str, Any], list[Tensor]]:
    """Returns weights as a block of bytes with the position of each, and as they are in it.

    Vectors have 32 bits. Matrices have 16, or, if they are large, 8 after a scale for each row.
    `fineness` is the number of levels per standard deviation of a row. Most weights are near 0 and
    few need all 8 bits, so compression shortens them.
    """
    block, tensors, stored = b"", [], []
    for value in weights:
        rows = value.float().reshape(len(value) if value.dim() > 1 else 1, -1)
        scales, kind = torch.ones(1, 1), "float32"
        if value.dim() > 1 and rows.abs().max() < 6e4:
            kind = "int8" if fineness and value.numel() >= LARGE_MATRIX else "float16"
        tensors.append({"at": len(block), "shape": [*value.shape], "kind": kind})
        if kind == "int8":
            spread = rows.std(dim=1, correction=0, keepdim=True) / fineness
            largest = rows.abs().amax(dim=1, keepdim=True) / 127
            scales = torch.maximum(spread, largest).clamp(min=1e-30)
            block += scales.numpy().astype("<f4").tobytes()
            rows = (rows / scales).round()
        rounded = rows.numpy().astype(np.dtype(kind).newbyteorder("<"))
        block += rounded.tobytes() + bytes(-rounded.nbytes % 4)
        exact = torch.from_numpy(rounded.astype(np.float32)) * scales
        stored.append(exact.reshape(value.shape).to(value.dtype))
    return {"tensors": tensors, "weights": pack(block)}, stored


def check(
    program: Callable[..., Tensor], function: Callable[..., Tensor], trials: list[Tensor]
) -> None:
    """Refuses a program whose result for an input differs by more than `TOLERANCE`."""
    for inputs in zip(*(part.split(1) for part in trials), strict=True):
        error = float((program(*inputs) - function(*inputs)).square().mean().sqrt())
        if not error <= TOLERANCE:  # also if it is not a number
            raise UserError(
                f"a result differs from PyTorch's by {error:.4f}, and {TOLERANCE} is allowed (root "
                f"mean square): {ELSEWHERE}"
            )


def of_validation_images(model: Any, run: Run, pictures: dict[bytes, int]) -> dict[str, Any]:
    """Returns what the page shows of validation images, which are added to the pictures.

    Prints how many are in the page, or why there are none.
    """
    shown: dict[str, Any] = {}
    try:
        data = run.data()
        split = data.examples("val", CANDIDATES)
        if split is None:
            raise UserError("its data have no validation split")
        split = Split(split.inputs.to("cpu"), split.targets)  # image files are read only now
        pixels = split.inputs if split.inputs.dtype == torch.uint8 else to_pixels(split.inputs)
        most = PICTURE_BYTES // pixels[0].numel()
        if isinstance(model, Generative):
            count = min(PAIRS, most // 2, len(pixels))
            shown = of_generator(model, run, data, pixels[:count], split.targets[:count], pictures)
        else:
            shown = of_classifier(model, data, split, pixels, most, pictures)
            count = len(pictures)
        print(f"{run.name}: {count} real images are in the page (--real false leaves them out)")
    except UserError as error:  # such as files that have moved
        print(f"{run.name}: the page has no real images, because {error}")
    return shown


def add(pictures: dict[bytes, int], images: Tensor) -> list[int]:
    """Adds images uint8 (N, C, H, W) that are not there yet, and returns their numbers."""
    return [pictures.setdefault(image.numpy().tobytes(), len(pictures)) for image in images]


def of_generator(
    model: Any, run: Run, data: Any, real: Tensor, labels: Tensor, pictures: dict[bytes, int]
) -> dict[str, Any]:
    """Returns real and generated images for the quiz, and what D and the judge say of them."""
    classes = None if model.num_classes is None else labels
    draw = next(iter(LatentBatches(model, len(real), 1, classes)))
    generated = to_pixels(model(draw.latents, draw.labels))
    images = torch.cat([real, generated]).float() / 255
    verdicts = []
    both = None if classes is None else classes.repeat(2)
    if (logits := model.realness(images, both)) is not None:
        means = "the probability that an image is real, says this run's discriminator"
        verdicts.append({"name": "D", "says": logits.sigmoid().tolist(), "means": means})
    judge = run.settings.get("quality.judge") or data.judge
    if judge and judge != PRETRAINED:
        sureness = find_judge(judge).network(images).softmax(dim=1).amax(dim=1)
        means = "how sure the judge is of the class that it sees"
        verdicts.append({"name": "judge", "says": sureness.tolist(), "means": means})
    numbers = {"real": add(pictures, real), "generated": add(pictures, generated)}
    return {"quiz": {**numbers, "verdicts": verdicts}}


def of_classifier(
    model: Any, data: Any, split: Any, pixels: Tensor, most: int, pictures: dict[bytes, int]
) -> dict[str, Any]:
    """Returns the surest mistakes, and the images that excite units of the last hidden layer."""
    inputs, targets = data.on_after_batch_transfer([*split], 0)
    layer = dict(model.active.named_modules())[last_layer(model.active)]
    seen: list[Tensor] = []  # what the last layer gets, of each view that the model averages
    hook = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0].flatten(1)))
    probabilities, features = [], []
    for part in inputs.split(250):
        seen.clear()
        probabilities.append(model.probabilities(part))
        features.append(seen[0])
    hook.remove()
    values = torch.cat(features)
    sureness, answers = torch.cat(probabilities).max(dim=1)
    wrong = sureness.masked_fill(answers == targets, -1).argsort(descending=True)
    wrong = wrong[: min(MOST_MISTAKES, most // 8, int((answers != targets).sum()))]
    mistakes = [*zip(add(pictures, pixels[wrong]), targets[wrong].tolist(), answers[wrong].tolist(),
                     sureness[wrong].tolist(), strict=True)]  # fmt: skip
    units = []
    count = min(MOST_UNITS, (most - len(wrong)) // PER_UNIT)
    for unit in sorted(values.std(dim=0).argsort(descending=True)[:count].tolist()):
        best = values[:, unit].argsort(descending=True)[:PER_UNIT]
        plain = isinstance(layer, nn.Linear) and layer.out_features > 1
        toward = int(layer.weight[:, unit].argmax()) if plain else None
        units.append({"unit": unit, "toward": toward, "pictures": add(pictures, pixels[best])})
    return {"units": units, "mistakes": mistakes, "asked": len(targets)}
