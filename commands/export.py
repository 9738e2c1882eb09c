"""`python cli.py export RUN`: a trained model as files for other programs."""

import json
import logging
import textwrap
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from figures.pictures import output_folder
from models.classifier import Classifier
from models.generative import Generative
from models.regressor import FunctionMLP
from pages.page import build_page
from pages.trained import run_data
from results import Run
from runtime.errors import UserError
from runtime.files import write

Format = Literal["onnx", "torch", "safetensors", "html"]
ONNX_LIBRARIES = ("onnx", "onnxruntime", "onnxscript")
SIZES = 1, 3, 64  # batch sizes that each file is tried with
TOLERANCE = 1e-5  # largest difference from PyTorch, relative to the largest output above 1

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
    classes. Each file is run at once and compared with PyTorch, and one that differs is not kept.

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
    return pages + (export_model(trained.model(), others, trained.folder, out) if others else [])


def export_model(
    model: Any, formats: Sequence[Format], beside: Path, out: Path | None
) -> list[Path]:
    """Writes a model, which it changes, into files in `out`; None: the folder `beside`/export."""
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
    saves: dict[str, tuple[str, Callable[[Path], float]]] = {
        "onnx": (f"{program.name}.onnx", partial(save_onnx, program, metadata)),
        "torch": (f"{program.name}.pt2", partial(save_torch, program, metadata)),
        "safetensors": ("model.safetensors", partial(save_weights, model, metadata)),
    }
    folder = output_folder(out or beside / "export", bool(out))
    for name, save in (saves[name] for name in formats):
        _write(folder / name, save)
    return [folder / saves[name][0] for name in formats]


def save_page(run: Run | None, real: bool, out: Path | None) -> Path:
    """Writes the page, with a run or without, into a file or a folder."""
    path = out or (run.folder / "export" if run else Path())
    path = path if path.suffix == ".html" else path / "page.html"
    output_folder(path.parent, bool(out))
    runs = [run_data(run, real)] if run else []
    write(path, lambda file: file.write_text(build_page(runs), "utf-8"))
    print(f"{path}: {path.stat().st_size / 1e3:,.0f} kB. Open it in a browser.")
    return path


def _write(path: Path, save: Callable[[Path], float]) -> None:
    """Writes a file with a function that returns its difference from PyTorch, and prints both."""
    differences: list[float] = []
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # what a user needs is in the errors of the exporters
    try:
        with warnings.catch_warnings(action="ignore"), torch.autocast("cpu", enabled=False):
            write(path, lambda file: differences.append(save(file)))
    except OSError:  # such as a full disk
        raise
    except Exception as error:  # exporters raise errors of many kinds
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = textwrap.shorten(str(cause), 300, placeholder=" ...") or type(cause).__name__
        if "specialized it to be a constant" in reason:
            reason = "its forward makes the batch size a constant: write x.shape[0] for len(x)"
        raise UserError(f"{path.name} is not written: {reason}") from error
    finally:
        logging.disable(before)
    size = path.stat().st_size / 1e3
    print(f"{path}: {size:,.0f} kB, largest difference from PyTorch {differences[0]:.1e}")


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


class Program(NamedTuple):
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

    def trace(self) -> torch.export.ExportedProgram:
        """Records the program as a graph of torch's operators."""
        return torch.export.export(self.network, (), self.inputs(3), dynamic_shapes=self.shapes)


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


def save_onnx(program: Program, metadata: dict[str, str], path: Path) -> float:
    """Writes one file with graph and weights, and runs it with ONNX Runtime."""
    import onnxruntime

    names = [*program.network(**program.examples)]
    exported: Any = torch.onnx.export(
        program.trace(), output_names=names, dynamic_shapes=program.shapes, verbose=False
    )
    exported.model.metadata_props.update(metadata)
    exported.save(path, external_data=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(**inputs: Tensor) -> Tensors:
        outputs = session.run(names, {name: value.numpy() for name, value in inputs.items()})
        return dict(zip(names, map(torch.from_numpy, outputs), strict=True))

    return largest_difference(program, run)


def save_torch(program: Program, metadata: dict[str, str], path: Path) -> float:
    """Writes a `torch.export` program, with each value of the metadata as an extra file."""
    torch.export.save(program.trace(), path, extra_files=dict(metadata))
    return largest_difference(program, torch.export.load(path).module())


def save_weights(model: Any, metadata: dict[str, str], path: Path) -> float:
    """Writes all weights, and the model's init arguments in the metadata."""
    from safetensors.torch import load_file, save

    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    given = {name: value for name, value in model.hparams.items() if name[0] != "_"}
    path.write_bytes(save(tensors, metadata | {"init_args": json.dumps(given, default=str)}))
    written = load_file(path)
    if not all(torch.equal(written[name], value) for name, value in tensors.items()):
        raise UserError("it has other weights than the model")
    return 0.0


@torch.no_grad()
def largest_difference(program: Program, run: Callable[..., Tensors]) -> float:
    """Compares a written file with PyTorch in batches of several sizes.

    Raises:
        UserError: If a shape differs, or a value by more than `TOLERANCE`.
    """
    largest = 0.0
    for size in SIZES:
        inputs = program.inputs(size)
        wanted, actual = program.network(**inputs), run(**inputs)
        limit = TOLERANCE * max(1.0, *(float(value.abs().max()) for value in wanted.values()))
        for name, expected in wanted.items():
            if not expected.isfinite().all():
                raise UserError("the model's outputs are not finite numbers: train it again")
            if actual[name].shape != expected.shape:
                raise UserError(f"'{name}' of {size} inputs has shape {tuple(actual[name].shape)}")
            difference = float((actual[name] - expected).abs().max())
            if not difference <= limit:  # also if it is not a number
                raise UserError(
                    f"'{name}' of {size} inputs differs from PyTorch's by {difference:.1e}, and "
                    f"{limit:.1e} is allowed"
                )
            largest = max(largest, difference)
    return largest
