"""Results of a run: named, printed and recorded."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from datamodules.data_module import DataModule
from datamodules.provenance import is_own
from figures.pictures import run_folder
from runtime.checkpoints import saved_step
from runtime.errors import UserError
from runtime.files import METRICS, write_json
from runtime.recorded import read_recorded


def datamodule_of(trainer: Trainer) -> DataModule | None:
    """Returns the run's DataModule if it follows this project's contract, otherwise None."""
    data = trainer.datamodule  # type: ignore[attr-defined]  # set by a connector
    return data if isinstance(data, DataModule) else None


def rank_zero_print(trainer: Trainer, text: str) -> None:
    """Prints text on rank zero, on a new line even if a progress bar is open."""
    if trainer.is_global_zero:
        Tqdm.write(text)


def record(trainer: Trainer, stage: str, found: dict[str, Any]) -> None:
    """Adds results of `val` or `test` to metrics.json. Every rank must call it.

    They replace those of the same checkpoint on the same data. Others stay beside them. What else
    was logged belongs to the scores. Call it at the end of a stage, when all of that is known.

    Args:
        trainer: It names the checkpoint and the data.
        stage: Of the results.
        found: `scores`, and perhaps `floor`, `intervals` and the `seed` of samples, by name.
    """
    start, logged = f"{stage}/", trainer.callback_metrics.items()
    scores = {k.removeprefix(start): float(x) for k, x in logged if k.startswith(start)}
    others = {k: x for k, x in scores.items() if "_class_" not in k}
    scores = found["scores"] | {k: x for k, x in others.items() if k not in found["scores"]}
    if (folder := run_folder(trainer)) is None or not scores:
        return
    entry = _measured(trainer, stage, folder) | found | {"scores": scores}
    try:
        known = read_recorded(folder)
    except UserError as error:  # must not end a test that has scored for minutes
        rank_zero_warn(f"{error}. It is overwritten.")
        known = {}
    kept = [other for other in known.get(stage, []) if _subject(other) != _subject(entry)]
    write_json(folder / METRICS, {**known, stage: [*kept, entry]})


def _subject(entry: dict[str, Any]) -> Any:
    """Returns the checkpoint and the data of an entry."""
    return entry["checkpoint"], entry["data"]["content"] or entry["data"]


def _measured(trainer: Trainer, stage: str, folder: Path) -> dict[str, Any]:
    """Returns which weights are measured, on which data, and when."""
    fits = trainer.state.fn == TrainerFn.FITTING
    path = folder / "checkpoints" / "last.ckpt" if fits else trainer.ckpt_path
    step = trainer.global_step if fits else saved_step(path)
    path = path if path is not None and saved_step(path) == step else None
    data = datamodule_of(trainer)
    title = type(trainer.datamodule).__name__  # type: ignore[attr-defined]  # a connector's
    return {
        "checkpoint": {"name": path and Path(path).resolve().name, "step": step},
        "data": data.facts(stage) if data else {"title": title, "content": None, "counts": {}},
        "own_data": not (data and path and Path(path).is_file()) or is_own(data, Path(path)),
        "seed": None,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
