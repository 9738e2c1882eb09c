"""A run as data for the page."""

from typing import Any

from results import Run


def run_data(run: Run, real: bool = True) -> dict[str, Any]:
    """Returns what the page shows of a run."""
    return {"name": run.name, "model": type(run.model()).__name__, "real": real}
