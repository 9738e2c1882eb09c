"""One page to train, draw, recognize and guess in a browser: offline, without a server or library.

`page.html` has its looks and a section for each part: Points, Digits, Runs, "Real or generated?".
`scripts/` has what they do. This file joins them, imports no torch, and trains nothing.
"""

import base64
import html
import json
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sklearn.datasets import load_digits

FOLDER = Path(__file__).parent
# In this order: the frame, Points with its networks, the other parts, and what starts the page.
SCRIPTS = (
    "frame", "network", "data", "drift", "trainers", "pictures", "scenes", "points", "tensors",
    "scans", "runs", "quiz", "main",
)  # fmt: skip
TITLE = "Ladder"


def build_page(runs: Sequence[dict[str, Any]] = (), title: str = TITLE) -> str:
    """Returns the page as HTML that loads nothing.

    Args:
        runs: Runs as data, see `pages.trained`; none: the page is without the part Runs.
        title: Heading of the page.
    """
    parts = {
        "title": html.escape(title),
        "digits": as_json(digits_data()),
        "runs": as_json([*runs]),
        "script": "\n".join((FOLDER / f"scripts/{name}.js").read_text("utf-8") for name in SCRIPTS),
    }
    template = (FOLDER / "page.html").read_text("utf-8")
    return re.sub("%([a-z]+)%", lambda match: parts.get(match[1], match[0]), template)


def digits_data() -> dict[str, str]:
    """Returns scikit-learn's digits: levels of 0 to 16, 64 bytes an image, packed; labels as text.

    Levels are a zlib stream in base64.
    """
    digits = load_digits()
    levels = zlib.compress(digits.data.astype("uint8").tobytes(), 9)
    labels = "".join(map(str, digits.target))
    return {"levels": base64.b64encode(levels).decode(), "labels": labels}


def as_json(value: Any) -> str:
    """Returns JSON in which no name can end the script element around it: `<` is escaped."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", r"\u003c")
