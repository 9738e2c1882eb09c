"""The picture of a search: the objective over the trials, and against each option."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from commands.compare_figures import STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from commands.sweep_space import Values

COLUMNS = 3
COLORS = {"COMPLETE": "C0", "PRUNED": "C1"}


def draw(
    trials: Sequence[Any], objective: str, space: "Mapping[str, Values]", maximize: bool
) -> "Figure":
    """Draws the value of each trial and the best so far, and a panel for each option."""
    from matplotlib import rc_context

    with rc_context(fname=STYLE):
        return _drawn(trials, objective, space, maximize)


def _drawn(
    trials: Sequence[Any], objective: str, space: "Mapping[str, Values]", maximize: bool
) -> "Figure":
    from matplotlib.figure import Figure

    rows = -(-(1 + len(space)) // COLUMNS)
    columns = min(COLUMNS, 1 + len(space))
    figure = Figure(figsize=(5 * columns, 4 * rows), layout="constrained")
    first, *panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten()
    groups = {
        state: [t for t in trials if t.state.name == state and t.value is not None]
        for state in COLORS
    }
    for state, group in groups.items():
        if group:
            _scatter(first, [t.number for t in group], group, state)
    _draw_best(first, groups["COMPLETE"], maximize)
    first.set(xlabel="trial", ylabel=objective)
    found = [trial.value for group in groups.values() for trial in group]
    if min(found) > 0 and max(found) > 10 * min(found):  # one bad trial would flatten the others
        first.set_yscale("log")
    for panel, (option, values) in zip(panels, space.items(), strict=False):
        _draw_option(panel, option, values, groups)
    for panel in panels[len(space) :]:
        panel.set_visible(False)
    figure.legend(*first.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _draw_best(axes: "Axes", complete: Sequence[Any], maximize: bool) -> None:
    best: list[float] = []
    for trial in complete:
        best.append((max if maximize else min)([*best[-1:], trial.value]))
    numbers = [trial.number for trial in complete]
    axes.step(numbers, best, where="post", color="black", linewidth=1, label="best so far")
    axes.locator_params(axis="x", integer=True)


def _draw_option(
    axes: "Axes", option: str, values: "Values", groups: Mapping[str, Sequence[Any]]
) -> None:
    arguments = values.arguments
    choices = arguments.get("choices")
    for state, group in groups.items():
        known = [trial for trial in group if option in trial.params]
        found = [trial.params[option] for trial in known]
        _scatter(axes, [choices.index(v) for v in found] if choices else found, known, state)
    if choices:
        axes.set_xticks(range(len(choices)), [str(choice) for choice in choices])
        axes.set_xlim(-0.5, len(choices) - 0.5)
    else:
        low, high = arguments["low"], arguments["high"]
        axes.update_datalim([(low, axes.dataLim.y0), (high, axes.dataLim.y0)])  # the whole range
        if arguments.get("log") and high >= 10 * low:  # below that, labels would overlap
            axes.set_xscale("log")
    axes.set_xlabel(option)


def _scatter(axes: "Axes", x: Sequence[Any], trials: Sequence[Any], state: str) -> None:
    y = [trial.value for trial in trials]
    axes.scatter(x, y, color=COLORS[state], alpha=0.7, label=state.lower(), s=36)
