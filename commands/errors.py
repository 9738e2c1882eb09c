"""Mistakes of the user, for code that must not import Lightning."""

import sys
from collections.abc import Iterable


class UserError(Exception):
    """A mistake of the user: `main` prints it in one line and exits with 2.

    Code that has Lightning loaded anyway raises Lightning's MisconfigurationException instead.
    """


def user_errors() -> tuple[type[Exception], ...]:
    """Returns the classes of all users' mistakes; Lightning's only if something has loaded it."""
    lightning = sys.modules.get("lightning.fabric.utilities.exceptions")
    return (UserError, lightning.MisconfigurationException) if lightning else (UserError,)


def did_you_mean(near: Iterable[str]) -> str:
    """Returns a question that names the nearest valid names; empty if there are none."""
    names = " or ".join(near)
    return f" Did you mean {names}?" if names else ""
