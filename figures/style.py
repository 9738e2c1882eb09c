"""The style of all figures, which `style.mplstyle` beside this file defines, and their files."""

from collections.abc import Callable
from functools import cache, partial, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from matplotlib import rc_context, rc_params_from_file
from matplotlib.figure import Figure

from runtime.files import write

P = ParamSpec("P")
R = TypeVar("R")


@cache
def style() -> Any:
    """Returns matplotlib's settings for all figures."""
    file = Path(__file__).with_suffix(".mplstyle")
    return rc_params_from_file(file, use_default_template=False)


def colors() -> list[str]:
    """Returns the colors of curves, in their order."""
    return style()["axes.prop_cycle"].by_key()["color"]


def styled(plot: Callable[P, R]) -> Callable[P, R]:
    """Decorates a function that draws, so that it draws in this style."""

    @wraps(plot)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        with rc_context(style()):
            return plot(*args, **kwargs)

    return drawn


def write_figure(path: Path, figure: Figure, vector: bool = False) -> None:
    """Writes a figure atomically as a PNG.

    Args:
        path: The file, whose name ends in `.png`.
        figure: The figure.
        vector: Also write it as an SVG, sharp at any size and with text that can be edited. For
            lines and text; an SVG of many images would be large and no sharper.
    """
    write(path, figure.savefig)
    if vector:
        with rc_context({"svg.fonttype": "none"}):  # letters stay text
            write(path.with_suffix(".svg"), partial(figure.savefig, metadata={"Date": None}))
