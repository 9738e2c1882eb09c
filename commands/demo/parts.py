"""Parts that the tabs of `demo` share: the models they show, and the order of their events."""

from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from commands.demo.models import Found, find

# One event at a time computes with the models; an event that repeats keeps its last occurrence.
QUEUE: dict[str, Any] = {"concurrency_id": "models", "concurrency_limit": 1}
LATEST: dict[str, Any] = {**QUEUE, "trigger_mode": "always_last", "show_progress": "hidden"}
PICTURE: dict[str, Any] = {"interactive": False, "buttons": []}  # an image to look at
PLAIN: dict[str, Any] = {"buttons": []}  # a slider without a button beside it


class Shelf:
    """The models that the page shows at the moment."""

    def __init__(self, runs: Path, trust: bool) -> None:
        self.runs, self.trust, self.found = runs, trust, Found()

    def refresh(self) -> Found:
        """Looks for new runs."""
        self.found = find(self.runs, self.trust)
        return self.found


def as_image(figure: Figure) -> Image.Image:
    """Draws a figure into an image."""
    file = BytesIO()
    figure.savefig(file, format="png")
    return Image.open(file).convert("RGB")
