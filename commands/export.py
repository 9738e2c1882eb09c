"""`python cli.py export RUN`: a trained model as files for other programs."""

import json
import logging
import shutil
import textwrap
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from threading import Timer
from typing import Any, Literal

import torch
from torch import Tensor, nn

from commands.card import card_of
from figures.pictures import output_folder
from models.classifier import Classifier
from models.generative import Generative, to_pixels
from models.regressor import FunctionMLP
from pages.page import build_page
from pages.trained import run_data
from results import Run
from runtime.errors import RunFailedError, UserError
from runtime.files import write

Format = Literal["onnx", "torch", "safetensors", "html"]
CARD = "README.md"
ONNX_LIBRARIES = ("onnx", "onnxruntime", "onnxscript")
SIZES = 1, 3, 64  # batch sizes that each file is tried with
# What a file may differ by from PyTorch, in the units that its users see.
GRAY_LEVELS, EQUAL = 2, 0.999  # of 255, of any pixel; the fraction that is equal or differs by one
PROBABILITY, OF_RANGE = 1e-3, 1e-4  # of a class; of a value, relative to the range of all
SLOW = 5.0  # seconds after which a line says what is being done

Tensors = dict[str, Tensor]


def export(
    run: Path | None = None,
    format: Sequence[Format] = ("onnx",),
    out: Path | None = None,
    trust: bool = False,
    real: bool = True,
) -> list[Path]:
    """Writes a trained model into files that run without this project.

    A classifier of images takes their pixels as uint8. A generator stops at a label beyond the
    classes. Each file is run at once and compared with PyTorch. One that differs by more than a
    user would see is kept as `NAME.refused`.

    Args:
        run: A run folder, a checkpoint, or `last` or `best`. Without one, `html` is a page that
            only trains small networks.
        format: One or several of `onnx` (for ONNX Runtime), `torch` (a `torch.export` program),
            `safetensors` (all weights, with the model's init arguments as metadata) and `html` (a
            page to play with the model in a browser, offline, see `demo`).
        out: Folder of the files; by default `export` in the run's folder. Of `html` also the file.
        trust: Import the classes that the checkpoint names, also if its author is unknown.
        real: Put some real images into the page. `false`: leave them out.

    Returns:
        The files.

    Raises:
        UserError: If a file cannot be written.
        RunFailedError: If a file differs from PyTorch.
    """
    wanted = [*dict.fromkeys(format)]
    if run is None and wanted == ["html"]:
        return [save_page(None, real, out)]
    if run is None:
        raise UserError(
            "missing: RUN, directly after the command, such as `python cli.py export runs/cgan`."
        )
    trained = Run.find(run, trust)
    pages = [save_page(trained, real, out)] if "html" in wanted else []
    others = [name for name in wanted if name != "html"]
    return pages + (export_model(trained.model(), others, out, trained) if others else [])


def export_model(
    model: Any, formats: Sequence[Format], out: Path | None, run: Run | None = None
) -> list[Path]:
    """Writes a model, which it changes, and a card into `out`; None: `export` in the run's folder.

    Returns:
        The files, without the card.
    """
    for library in ONNX_LIBRARIES if "onnx" in formats else ():
        if find_spec(library) is None:
            raise UserError(
                f'export needs {library}: pip install -e ".[export]", or add --format torch, which '
                "needs no more packages"
            )
    if out and out.suffix == ".html":
        raise UserError(f"--out {out}: give a folder, such as {out.stem}, not a file")
    model = model.cpu().float()
    program, metadata = program_of(model), metadata_of(model)
    saves: dict[str, tuple[str, Callable[[Path], str]]] = {
        "onnx": (f"{program.name}.onnx", partial(save_onnx, program, metadata)),
        "torch": (f"{program.name}.pt2", partial(save_torch, program, metadata)),
        "safetensors": ("model.safetensors", partial(save_weights, model, metadata)),
    }
    folder = output_folder(out or (run.folder if run else Path()) / "export", bool(out))
    for name, save in (saves[name] for name in formats):
        _write(folder / name, save)
    files: dict[str, str] = {name: saves[name][0] for name in formats}
    with torch.no_grad():
        outputs = program.network(**program.inputs(1))
    card = card_of(model, program.name, program.examples, outputs, files, run)
    write(folder / CARD, lambda file: file.write_text(card, "utf-8"))
    print(
        f"{folder / CARD}: what the model takes and gives, its data and scores, and how to run it"
    )
    return [folder / name for name in files.values()]


def save_page(run: Run | None, real: bool, out: Path | None) -> Path:
    """Writes the page, with a run or without, into a file or a folder."""
    path = out or (run.folder / "export" if run else Path())
    path = path if path.suffix == ".html" else path / "page.html"
    output_folder(path.parent, bool(out))
    runs = [run_data(run, real)] if run else []
    write(path, lambda file: file.write_text(build_page(runs), "utf-8"))
    print(f"{path}: {path.stat().st_size / 1e3:,.0f} kB. Open it in a browser.")
    return path


class DiffersError(Exception):
    """A written file computes something else than PyTorch."""


def _write(path: Path, save: Callable[[Path], str]) -> None:
    """Writes a file with a function that compares it with PyTorch, and prints the result."""
    compared: list[str] = []
    refused = path.with_name(f"{path.name}.refused")

    def save_or_keep(file: Path) -> None:
        try:
            compared.append(save(file))
        except DiffersError:
            write(refused, lambda copy: shutil.copyfile(file, copy))
            raise

    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # what a user needs is in the errors of the exporters
    slow = Timer(SLOW, print, [f"{path.name}: recording it and comparing it with PyTorch ..."])
    slow.daemon = True
    slow.start()
    try:
        with warnings.catch_warnings(action="ignore"), torch.autocast("cpu", enabled=False):
            write(path, save_or_keep)
    except OSError:  # such as a full disk
        raise
    except DiffersError as error:
        raise RunFailedError(
            f"{path.name} is not written, but kept as {refused}: {error}"
        ) from None
    except Exception as error:  # exporters raise errors of many kinds
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = textwrap.shorten(str(cause), 300, placeholder=" ...") or type(cause).__name__
        if "specialized it to be a constant" in reason:
            reason = "its forward makes the batch size a constant: write x.shape[0] for len(x)"
        raise UserError(f"{path.name} is not written: {reason}") from error
    finally:
        slow.cancel()
        logging.disable(before)
    print(f"{path}: {path.stat().st_size / 1e3:,.0f} kB, {compared[0]}")


class Predictor(nn.Module):
    """Inputs (N, ...) -> logits and probabilities (N, K), or predictions (N, 1) of a regressor.

    Inputs are float32, prepared as in training, or pixels as they are stored, uint8.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensors:
        if inputs.dtype == torch.uint8:
            inputs = inputs.float() / self.model.input_spec.scale
        outputs = self.model(inputs)
        if isinstance(self.model, FunctionMLP):
            return {"predictions": outputs}
        return {"logits": outputs, "probabilities": self.model.as_probabilities(outputs)}


class Generator(Predictor):
    """Latents (N, latent_dim) and, if conditional, labels (N,) -> images (N, C, H, W) in [0, 1]."""

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensors:
        if labels is not None:
            # ONNX Runtime, too, refuses a place that a list does not have.
            count = self.model.num_classes
            labels = torch.arange(count)[torch.where(labels < 0, count, labels)]
        return {"images": self.model(latents, labels)}


@dataclass
class Program:
    """A network as a program: tensors in and out by name, any batch size, no training code."""

    name: str  # the stem of its files
    network: Predictor
    examples: Tensors  # inputs by name, as many as the largest batch

    def inputs(self, count: int) -> Tensors:
        return {name: values[:count] for name, values in self.examples.items()}

    @property
    def shapes(self) -> dict[str, Any]:
        """The dimension that may change from call to call: the first of each input."""
        return {name: {0: torch.export.Dim("batch")} for name in self.examples}

    @cached_property
    def graph(self) -> torch.export.ExportedProgram:
        """The program, recorded as torch's operators, with no weights but its own."""
        program = torch.export.export(self.network, (), self.inputs(3), dynamic_shapes=self.shapes)
        _remove_unused_weights(program)  # such as those in training, beside their average
        for node in _nodes(program):
            node.meta.pop("stack_trace", None)  # names the files of this machine
        return program

    @cached_property
    def outputs(self) -> dict[int, Tensors]:
        """What PyTorch computes, by the size of the batch."""
        return {size: self.network(**self.inputs(size)) for size in SIZES}


def _nodes(program: torch.export.ExportedProgram) -> list[torch.fx.Node]:
    graphs = (part for part in program.graph_module.modules() if hasattr(part, "graph"))
    return [node for part in graphs for node in part.graph.nodes]


def _remove_unused_weights(program: torch.export.ExportedProgram) -> None:
    """Removes parameters and buffers that the graph does not read."""
    signature = program.graph_signature
    names = signature.inputs_to_parameters | signature.inputs_to_buffers
    for node in [*program.graph.nodes]:
        if node.op == "placeholder" and node.name in names and not node.users:
            program.graph.erase_node(node)
            program.state_dict.pop(names[node.name], None)
    left = {node.name for node in program.graph.nodes}
    signature.input_specs = [spec for spec in signature.input_specs if spec.arg.name in left]
    program.graph_module.recompile()


def program_of(model: Any) -> Program:
    """Returns the program of a trained model."""
    random, count = torch.Generator().manual_seed(0), max(SIZES)
    if isinstance(model, Generative):
        latents, _ = model.draw_latents(count, random)
        examples = {"latents": latents}
        if model.num_classes is not None:
            examples["labels"] = torch.arange(count) % model.num_classes
        return Program("generator", Generator(model).requires_grad_(False).eval(), examples)
    if isinstance(model, Classifier | FunctionMLP):
        name, shape = "regressor", model.input_shape
        if isinstance(model, Classifier):
            name = "classifier"
        inputs = torch.randn(count, *shape, generator=random)
        if len(shape) == 3 and model.input_spec is not None:  # the divisor of the pixels is known
            inputs = torch.randint(256, inputs.shape, generator=random, dtype=torch.uint8)
        return Program(name, Predictor(model).requires_grad_(False).eval(), {"inputs": inputs})
    kind = type(model).__name__
    raise UserError(f"export knows classifiers, regressors and generative models, not {kind}")


def metadata_of(model: Any) -> dict[str, str]:
    """Returns what every file says about itself. Values other than text are JSON."""
    spec, kind = model.input_spec, type(model)
    return {
        "model": f"{kind.__module__}.{kind.__qualname__}",
        "class_names": json.dumps(spec and spec.class_names, ensure_ascii=False),
        "scale": json.dumps(spec and spec.scale),
    }


def save_onnx(program: Program, metadata: dict[str, str], path: Path) -> str:
    """Writes one file with graph and weights, and runs it with ONNX Runtime."""
    import onnxruntime
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    names = [*program.outputs[1]]
    exported: Any = torch.onnx.export(
        program.graph, output_names=names, dynamic_shapes=program.shapes, verbose=False
    )
    exported.model.metadata_props.update(metadata)
    RemoveUnusedNodesPass()(exported.model)  # of which ONNX Runtime would warn at each start
    exported.save(path, external_data=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(**inputs: Tensor) -> Tensors:
        outputs = session.run(names, {name: value.numpy() for name, value in inputs.items()})
        return dict(zip(names, map(torch.from_numpy, outputs), strict=True))

    return compare(program, run)


def save_torch(program: Program, metadata: dict[str, str], path: Path) -> str:
    """Writes a `torch.export` program, with each value of the metadata as an extra file."""
    torch.export.save(program.graph, path, extra_files=dict(metadata))
    return compare(program, torch.export.load(path).module())


def save_weights(model: Any, metadata: dict[str, str], path: Path) -> str:
    """Writes all weights, and the model's init arguments in the metadata."""
    from safetensors.torch import load_file, save

    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    given = {name: value for name, value in model.hparams.items() if name[0] != "_"}
    path.write_bytes(save(tensors, metadata | {"init_args": json.dumps(given, default=str)}))
    written = load_file(path)
    if not all(torch.equal(written[name], value) for name, value in tensors.items()):
        raise DiffersError("it has other weights than the model")
    return "with the weights of the model"


@torch.no_grad()
def compare(program: Program, run: Callable[..., Tensors]) -> str:
    """Compares a written file with PyTorch in batches of several sizes.

    Returns:
        The largest difference of each output that its users see, as text.

    Raises:
        DiffersError: If a shape or a value differs by more than the module's constants allow.
    """
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for size, wanted in program.outputs.items():
        computed = run(**program.inputs(size))
        for name, value in wanted.items():
            if not value.isfinite().all():
                raise UserError("the model's outputs are not finite numbers: train it again")
            if computed[name].shape != value.shape:
                shape = tuple(computed[name].shape)
                raise DiffersError(f"'{name}' of {size} inputs has shape {shape}")
            if not computed[name].isfinite().all():
                raise DiffersError(f"'{name}' of {size} inputs is not finite numbers")
            found.setdefault(name, []).append((computed[name], value))
    texts = []
    for name, pairs in found.items():
        actual, expected = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        if name == "images" and expected.dim() == 4:
            text, accepted = _compare_images(actual, expected)
        elif name == "probabilities":
            text, accepted = _compare_probabilities(actual, expected)
        elif name == "logits":  # its users see the probabilities
            continue
        else:
            text, accepted = _compare_values(actual, expected)
        texts.append(f"{name} differ from PyTorch's by at most {text}")
        if not accepted:
            raise DiffersError(texts[-1])
    return "; ".join(texts)


def _compare_images(actual: Tensor, expected: Tensor) -> tuple[str, bool]:
    levels = (to_pixels(actual).int() - to_pixels(expected).int()).abs()
    largest, equal = int(levels.max()), float((levels <= 1).double().mean())
    text = f"{largest} of 255 gray levels, {equal:.3%} by one or none"
    return text, largest <= GRAY_LEVELS and equal >= EQUAL


def _compare_probabilities(actual: Tensor, expected: Tensor) -> tuple[str, bool]:
    difference = float((actual - expected).abs().max())
    if expected.shape[1] == 1:  # of the second class
        actual, expected = (torch.cat([1 - p, p], dim=1) for p in (actual, expected))
    first, second = expected.topk(2, dim=1).values.unbind(1)
    clear = first - second > PROBABILITY
    same = (actual.argmax(1) == expected.argmax(1))[clear].all()
    text = f"{difference:.1e}" + ("" if same else ", with another class")
    return text, difference <= PROBABILITY and bool(same)


def _compare_values(actual: Tensor, expected: Tensor) -> tuple[str, bool]:
    difference, extent = (
        float((actual - expected).abs().max()),
        float(expected.max() - expected.min()),
    )
    return f"{difference:.1e}, in a range of {extent:.2g}", difference <= OF_RANGE * extent
