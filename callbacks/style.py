"""The style of all figures, which `style.mplstyle` beside this file defines."""

from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from matplotlib import rc_context, rc_params_from_file

P = ParamSpec("P")
R = TypeVar("R")


@cache
def style() -> Any:
    """Returns matplotlib's settings for all figures."""
    file = Path(__file__).with_suffix(".mplstyle")
    return rc_params_from_file(file, use_default_template=False)


def colours() -> list[str]:
    """Returns the colours of curves, in their order."""
    return style()["axes.prop_cycle"].by_key()["color"]


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Decorates a function that draws, so that it draws in this style."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        with rc_context(style()):
            return draw(*args, **kwargs)

    return drawn
