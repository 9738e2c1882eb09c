"""Errors in one line, for code that must not import Lightning."""

import sys
from collections.abc import Iterable
from pathlib import Path

from runtime.errors import LOST_PROCESS, RunFailedError, UserError, explain, is_lost_process

ROOT = Path(__file__).parent.parent
NEEDED = ("torch", "lightning", "jsonargparse", "yaml", "numpy", "torchvision", "torchmetrics",
          "matplotlib", "seaborn", "pandas", "sklearn", "tensorboard")  # fmt: skip


def explained(error: Exception) -> tuple[int, str]:
    """Returns the exit code and the line for an error; an empty line if it is nobody's mistake."""
    if isinstance(error, ModuleNotFoundError) and error.name in NEEDED:
        return 2, _without_environment(error.name)
    if isinstance(error, UserError):
        return 2, str(error)
    if isinstance(error, RunFailedError):
        return 1, str(error)
    if isinstance(error, OSError):
        return 1, explain(error)
    if is_lost_process(error):
        return 1, LOST_PROCESS
    if "lightning" not in sys.modules and "torch" not in sys.modules:
        return 1, ""
    from commands.explanations import OUT_OF_MEMORY, reworded

    message = f"{type(error).__name__}: {error}" if isinstance(error, MemoryError) else str(error)
    text = reworded(message)
    if text == OUT_OF_MEMORY:
        return 1, text
    known = text != " ".join(message.split()) and isinstance(error, RuntimeError)
    return 2, text if known or _is_lightnings(error) else ""


def _is_lightnings(error: BaseException) -> bool:
    """Returns whether Lightning itself complains, for example of a metric that is missing.

    It raises RuntimeError and others for what are mistakes in the settings of a run.
    """
    lightning = sys.modules.get("lightning.fabric.utilities.exceptions")
    if lightning and isinstance(error, lightning.MisconfigurationException):
        return True
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    file = frame.tb_frame.f_code.co_filename if frame is not None else ""
    return "/lightning/" in file and isinstance(error, RuntimeError | ValueError | AttributeError)


def _without_environment(package: str) -> str:
    """Says which command activates the environment that has a package."""
    text = f"{package} is not installed for {sys.executable}."
    if (ROOT / ".venv").is_dir():
        return f"{text} Activate the environment first: `source {ROOT}/.venv/bin/activate`."
    return f"{text} Set up the environment first: `make train`, then `source .venv/bin/activate`."


def did_you_mean(near: Iterable[str]) -> str:
    """Returns a question that names the nearest valid names; empty if there are none."""
    names = " or ".join(near)
    return f" Did you mean {names}?" if names else ""
