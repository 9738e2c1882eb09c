"""Trained models for the tools."""

from pathlib import Path

from commands import trained
from models.base import Module
from runtime import checkpoints

RUNS = Path("runs")


def load(run: Path, trust: bool = False) -> Module:
    """Builds the model of a run with its weights, in eval mode, on the CPU.

    Its attribute `frame` describes the training data.

    Args:
        run: A run folder, a checkpoint, or `last` or `best` of the runs in `runs/`.
        trust: Import the classes that the checkpoint names, whoever wrote it.
    """
    return trained.load(checkpoints.resolve(run, RUNS, option="run"), trust)
