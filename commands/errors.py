"""Mistakes of the user, for code that must not import Lightning."""

import sys
from collections.abc import Iterable

from runtime.errors import UserError


def user_errors() -> tuple[type[Exception], ...]:
    """Returns the classes of all users' mistakes; Lightning's only if something has loaded it."""
    lightning = sys.modules.get("lightning.fabric.utilities.exceptions")
    return (UserError, lightning.MisconfigurationException) if lightning else (UserError,)


def is_lightnings(error: BaseException) -> bool:
    """Returns whether Lightning itself complains, for example of a metric that is missing.

    It raises RuntimeError and others for what are mistakes in the settings of a run.
    """
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    file = frame.tb_frame.f_code.co_filename if frame is not None else ""
    return "/lightning/pytorch/" in file or "/lightning/fabric/" in file


def did_you_mean(near: Iterable[str]) -> str:
    """Returns a question that names the nearest valid names; empty if there are none."""
    names = " or ".join(near)
    return f" Did you mean {names}?" if names else ""
