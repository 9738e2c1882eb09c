"""A trained model as files for other programs: the Trainer's method `export`."""

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast, get_args

import torch
from lightning import LightningModule, Trainer

from commands.export_formats import (
    File,
    Format,
    Metadata,
    explain,
    files_of,
    quiet,
    require_libraries,
)
from commands.export_readme import TITLES, readme
from datamodules.frame import Frame
from figures.pictures import output_folder
from models.exportable import Exportable, programs_of
from models.gan import GAN
from runtime.errors import FULL, UserError
from runtime.files import write
from runtime.run_folder import run_folder_of


class Export:
    """Mixin that adds the method `export` to a Trainer."""

    def export(
        self,
        model: LightningModule,
        ckpt_path: str | Path | None = None,
        weights_only: bool | None = None,
        format: tuple[Format, ...] = ("onnx",),
        out: str | Path | None = None,
    ) -> None:
        """Writes a trained model into files that run without this project.

        Each file is run at once and compared with PyTorch; one that differs is not kept. A
        `README.md` beside the files shows how to run them.

        Args:
            model: A classifier, a regressor or a GAN, which becomes a generator and a
                discriminator.
            ckpt_path: The trained weights: a checkpoint, a run folder, `last` or `best`.
            weights_only: Refuse a checkpoint that contains more than plain values.
            format: One or several of `onnx` (for ONNX Runtime), `torch` (a `torch.export` program)
                and `safetensors` (weights beside the model's config).
            out: Folder of the files; by default `export` in the run's folder.
        """
        trainer = cast(Trainer, self)
        if not trainer.is_global_zero:
            return  # one process is enough
        if ckpt_path is None:
            raise UserError(
                "export without --ckpt_path would use random weights: give a checkpoint or a run "
                "folder, `python cli.py export --ckpt_path RUN`"
            )
        if not isinstance(model, Exportable):
            raise UserError(
                f"export knows classifiers, regressors and GANs, not {type(model).__name__}"
            )
        wanted = [*dict.fromkeys(format)]
        require_libraries(wanted)
        checkpoint = trainer.strategy.load_checkpoint(str(ckpt_path), weights_only)
        model.on_load_checkpoint(checkpoint)
        model.load_state_dict(checkpoint["state_dict"])
        model.float().cpu().eval()
        source = Path(ckpt_path)
        metadata = metadata_of(model, checkpoint, source)
        folder = Path(out or (run_folder_of(source) or source.parent) / "export")
        is_new = not folder.exists()
        output_folder(folder)
        try:
            with torch.autocast("cpu", enabled=False):  # files compute in float32
                _export(folder, wanted, model, metadata)
        finally:
            if is_new and not any(folder.iterdir()):
                folder.rmdir()


def _export(folder: Path, wanted: Sequence[Format], model: Exportable, metadata: Metadata) -> None:
    """Writes all files that can be written, then reports those that cannot."""
    programs = programs_of(model, json.loads(metadata["scale"]))
    written: list[File] = []
    problems: list[str] = []
    for file in files_of(wanted, model, programs, metadata):
        try:
            difference = _write(folder, file)
        except Exception as error:  # exporters raise errors of many kinds
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            problems.append(f"{file.name} is not written: {explain(error, file.programs)}")
            continue
        written.append(file)
        size = (folder / file.name).stat().st_size
        text = f"{size / 1e6:.1f} MB" if size > 1e6 else f"{size / 1e3:.0f} kB"
        print(f"{file.name}: {text}, largest difference from PyTorch {difference:.1e}")
    if written:
        every = files_of(get_args(Format), model, programs, metadata)
        text = readme(_to_describe(folder, written, every, metadata), metadata)
        write(folder / "README.md", lambda path: path.write_text(text))
        print(f"How to run {'it' if len(written) == 1 else 'them'}: {folder / 'README.md'}")
    if problems:
        raise UserError("; ".join(problems))


def _to_describe(
    folder: Path, written: list[File], every: list[File], metadata: Metadata
) -> list[File]:
    """Adds the files in the folder that an earlier call has written from the same checkpoint."""
    earlier = folder / "README.md"
    text = earlier.read_text() if earlier.is_file() else ""
    known = text if metadata["checkpoint_sha256"] in text else ""
    names = {file.name for file in written}
    return [
        file
        for file in every
        if file.name in names
        or (TITLES[file.name.rpartition(".")[2]] in known and (folder / file.name).is_file())
    ]


def _write(folder: Path, file: File) -> float:
    """Writes a file, if it computes what PyTorch computes, and returns the largest difference."""
    found: list[float] = []
    with quiet():
        write(folder / file.name, lambda path: found.append(file.save(path)))
    return found[0]


def metadata_of(model: Exportable, checkpoint: dict[str, Any], source: Path) -> Metadata:
    """Returns what every file says about itself. Values other than text are JSON."""
    cls, frame = type(model), Frame.of_checkpoint(checkpoint)
    names: Sequence[str] | None = frame.class_names if frame else None
    if names is None and (count := getattr(model, "num_classes", None)):
        names = [str(k) for k in range(count)]
    # Checkpoints without a frame are old, and say the scale among the data's settings.
    settings = checkpoint.get("datamodule_hyper_parameters") or {}
    shape = model.image_shape if isinstance(model, GAN) else model.input_shape
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "model": f"{cls.__module__}.{cls.__qualname__}",
        "input_shape": json.dumps([*shape]),
        "scale": json.dumps(frame.scale if frame else settings.get("scale")),
        "class_names": json.dumps(names, ensure_ascii=False),
        "training_data": json.dumps(_identity(checkpoint)),
        "checkpoint_sha256": digest,
        "ladder_version": _version(),
    }


def _identity(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Returns the class of the training data and the settings that decide the examples."""
    for name, value in checkpoint.items():
        if isinstance(value, dict) and "identity" in value:
            return {"class": name, **value["identity"]}
    return {}


def _version() -> str:
    try:
        return version("ladder-lightning")
    except PackageNotFoundError:  # used from its folder, without an installation
        return "unknown"
