"""The file formats of `export`: how each is written, and how it is run without the model."""

import io
import json
import logging
import os
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Literal, NamedTuple

import torch
from jsonargparse import ArgumentParser
from lightning.pytorch.cli import instantiate_module
from torch import Tensor, nn

from models.exportable import EXAMPLES, Exportable, Program, programs_of
from runtime import lightning_fixes
from runtime.errors import UserError
from runtime.files import write_json

Format = Literal["onnx", "torch", "safetensors"]
LIBRARIES: dict[str, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "safetensors": ("safetensors",),
}
SIZES = 1, 3, EXAMPLES  # batch sizes that each file is tried with
TOLERANCE = 1e-5  # largest difference from PyTorch, relative to the largest output above 1
LARGEST_ONNX = 2_000_000_000  # bytes of weights; one file holds no more

Metadata = dict[str, str]
Run = Callable[..., dict[str, Tensor]]  # from inputs by name to outputs by name


def require_libraries(formats: Sequence[str]) -> None:
    """Refuses formats whose libraries are not installed."""
    for name in formats:
        for library in LIBRARIES.get(name, ()):
            try:
                import_module(library)
            except ImportError as error:
                raise UserError(
                    f"--format {name} needs the library {library}, which cannot be imported: "
                    'install it with pip install -e ".[export]", or give another format'
                ) from error


class File(NamedTuple):
    """A file to write."""

    name: str
    programs: list[Program]  # what it contains
    save: Callable[[Path], float]  # returns the largest difference from PyTorch


def files_of(
    wanted: Sequence[str], model: Exportable, programs: list[Program], metadata: Metadata
) -> list[File]:
    """Returns the files of these formats, which are not yet written."""
    files: list[File] = []
    for name in wanted:
        if name == "safetensors":
            save: Any = partial(save_safetensors, model, programs, metadata)
            files.append(File("model.safetensors", programs, save))
            continue
        suffix, save = {"onnx": ("onnx", save_onnx), "torch": ("pt2", save_torch)}[name]
        for program in programs:
            file = File(f"{program.name}.{suffix}", [program], partial(save, program, metadata))
            files.append(file)
    return files


def save_onnx(program: Program, metadata: Metadata, path: Path) -> float:
    """Writes one file with graph and weights, and runs it with ONNX Runtime."""
    size = sum(tensor.nbytes for tensor in program.state_dict().values())
    if size > LARGEST_ONNX:
        raise UserError(
            f"its weights take {size / 1e9:.1f} GB, and an ONNX file holds 2 GB; use --format torch"
        )
    shapes, names = program.dynamic_shapes, list(program.outputs)
    exported: Any = torch.onnx.export(
        program.traced, output_names=names, dynamic_shapes=shapes, dynamo=True, verbose=False
    )
    opset = str(exported.model.opset_imports[""])
    exported.model.metadata_props.update(metadata | {"opset": opset})
    exported.save(path, external_data=False)
    return largest_difference(program, load_onnx(path))


def load_onnx(path: Path) -> Run:
    """Returns a function that runs an ONNX file on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(**inputs: Tensor) -> dict[str, Tensor]:
        found = session.run(names, {name: value.numpy() for name, value in inputs.items()})
        return dict(zip(names, map(torch.from_numpy, found), strict=True))

    return run


def save_torch(program: Program, metadata: Metadata, path: Path) -> float:
    """Writes a `torch.export` program, with each value of the metadata as an extra file."""
    torch.export.save(program.traced, path, extra_files=metadata)
    return largest_difference(program, torch.export.load(path).module())


def save_safetensors(
    model: Exportable, programs: list[Program], metadata: Metadata, path: Path
) -> float:
    """Writes all weights, and beside them `model.json`, with which a new model is built."""
    from safetensors.torch import load_model, save_model

    config = {"class_path": metadata["model"], "init_args": complete_init_args(model)}
    save_model(model, str(path), metadata)
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)  # the library lets nobody but the owner read
    saved = json.loads(json.dumps(config))
    fresh = instantiate_module(resolve_name(saved["class_path"]), saved["init_args"])
    load_model(fresh, str(path))
    scale = json.loads(metadata["scale"])
    pairs = zip(programs, programs_of(fresh.eval(), scale), strict=True)
    difference = max(largest_difference(program, other) for program, other in pairs)
    write_json(path.with_name("model.json"), config)
    return difference


def complete_init_args(model: Exportable) -> dict[str, Any]:
    """Returns a model's init arguments with the defaults of all classes in them.

    Without these, a class that replaces a default one would get some of that one's defaults.
    """
    hparams = {name: value for name, value in model.hparams.items() if name[0] != "_"}
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(type(model), "model", fail_untyped=False)
    with lightning_fixes.defaults_of_the_new_class():
        return parser.parse_object({"model": hparams}).model.as_dict()


@torch.no_grad()
def largest_difference(program: Program, run: Run) -> float:
    """Compares a written file with PyTorch in batches of 1, 3 and 64 examples.

    Differences may be `TOLERANCE`, times the largest output of the program if that is above 1:
    float32 has seven digits, so that only outputs of similar size have similar rounding errors.

    Returns:
        The largest absolute difference.

    Raises:
        UserError: If a difference is larger, or a shape differs.
    """
    largest = 0.0
    for size in SIZES:
        inputs = program.examples(size)
        wanted, found = program(**inputs), run(**inputs)
        peak = max(float(value.abs().max()) for value in wanted.values())
        if not all(value.isfinite().all() for value in wanted.values()):
            raise UserError(
                "the model's outputs are not finite numbers, so it did not learn: train it again"
            )
        limit = TOLERANCE * max(1.0, peak)
        for name, expected in wanted.items():
            given = found[name]
            if given.shape != expected.shape:
                shapes = f"{tuple(given.shape)} instead of {tuple(expected.shape)}"
                raise UserError(f"'{name}' of {size} inputs has shape {shapes}")
            difference = float((given - expected).abs().max())
            if not difference <= limit:  # also if it is not a number
                raise UserError(
                    f"'{name}' of {size} inputs differs from PyTorch's by {difference:.1e}, and "
                    f"{limit:.1e} is allowed"
                )
            largest = max(largest, difference)
    return largest


@contextmanager
def quiet() -> Iterator[None]:
    """Hides what exporters print and log; their errors say what a user needs."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            yield
    finally:
        logging.disable(before)


def explain(error: BaseException, programs: list[Program]) -> str:
    """Returns the reason of an exporter's error in one line, with the layer that caused it."""
    layer, reason = "", error
    for cause in _causes(error):
        reason = cause
        layer = next(filter(None, (_layer(cause, program) for program in programs)), layer)
    if isinstance(reason, UserError):
        return str(reason)
    text = " ".join(str(reason).split())[:200] or type(reason).__name__
    if not layer:
        return text
    return f"{layer} cannot be expressed in this format ({text}): change it or leave out the format"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _layer(error: BaseException, program: nn.Module) -> str:
    """Returns the innermost layer that an error passed: as a module, or as a node of a graph."""
    names = {id(layer): name for name, layer in program.named_modules() if name}
    found = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        layer, node = frame.f_locals.get("self"), frame.f_locals.get("node")
        if id(layer) in names:
            found = f"{names[id(layer)]} ({type(layer).__name__})"
        elif isinstance(node, torch.fx.Node) and (stack := node.meta.get("nn_module_stack")):
            path, kind = list(stack.values())[-1]
            kind = kind if isinstance(kind, str) else kind.__qualname__
            found = f"{path} ({kind.rpartition('.')[2]})"
    return f"layer {found.removeprefix('model.')}" if found else ""
