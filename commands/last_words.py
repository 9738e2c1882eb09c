"""The last lines of a command: its run's folder and pictures, and the command that comes next."""

import shlex
from pathlib import Path

from lightning import Trainer

from commands import program
from datamodules.base import InMemoryDataModule

EXAMPLES = ("samples", "function_fit", "decision_surface", "confusion_val", "curves")


def written_at(run: Path | None) -> dict[str, int]:
    """Returns when each picture in a run's `figures/` was written, by its name."""
    found = (run / "figures").glob("[!.]*.png") if run else ()
    return {path.name: path.stat().st_mtime_ns for path in found}


def pictures_of_training(run: Path) -> list[str]:
    """Says where the pictures of a run are, with two examples; nothing if there are none."""
    there = written_at(run)
    shown = [name for name in (f"{stem}.png" for stem in EXAMPLES) if name in there]
    names = " and ".join((shown or sorted(there))[:2])
    return [f"Pictures: {run / 'figures'}, such as {names}"] if there else []


def new_pictures(run: Path, before: dict[str, int]) -> list[str]:
    """Names the pictures that were written since `before`; nothing if there are none."""
    new = [name for name, time in sorted(written_at(run).items()) if before.get(name) != time]
    return [f"Pictures: {run / 'figures'}: {', '.join(new)}"] if new else []


def missing_validation(trainer: Trainer, data: object, run: str) -> list[str]:
    """Says that the run was too short for a validation, if that is so."""
    batches = trainer.num_training_batches
    if trainer.global_step >= batches or not trainer.enable_validation:
        return []
    if not isinstance(data, InMemoryDataModule) or data.splits is None or data.splits.val is None:
        return []
    return [
        f"No validation: it comes after an epoch, {batches:,} batches, and the run ended after "
        f"{trainer.global_step:,}. `{program.cli()} validate {run}` validates it now."
    ]


def watching(runs: Path) -> str:
    """Says how to see all runs in TensorBoard."""
    return f"Watch it: {program.tensorboard()} --logdir {shlex.quote(str(runs))} --host localhost"
