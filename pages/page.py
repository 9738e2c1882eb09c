"""One page to train, draw, recognize and guess in a browser: offline, without a server or library.

`page.html` has its looks and a section for each part: Points, Digits, Runs, "Real or generated?".
`scripts/` has what they do. This file joins them, imports no torch, and trains nothing.
"""

import base64
import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

FOLDER = Path(__file__).parent
READER = FOLDER / "reader.json"  # written by `python -m benchmarks.reader`
# In this order: the frame, Points with its networks, the other parts, and what starts the page.
SCRIPTS = (
    "frame", "network", "data", "drift", "trainers", "pictures", "scenes", "bench",
    "points", "digits-training", "digits", "tensors", "scans", "runs", "quiz", "sheet", "main",
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


def split_digits() -> tuple[Any, Any, int]:
    """Returns scikit-learn's digits: levels of 0 to 16 (N, 64), classes (N,), and how many train.

    The others are held out. They are those of `datamodules.digits`.
    """
    digits = load_digits()
    rows = np.arange(len(digits.target))
    parts = train_test_split(rows, test_size=0.2, random_state=0, stratify=digits.target)
    order = np.concatenate(parts)
    return digits.data[order].astype("int64"), digits.target[order], len(parts[0])


def digits_data() -> dict[str, Any]:
    """Returns the digits and the reader as data for the page: 5 pixels in 3 bytes, in base64."""
    levels, labels, train = split_digits()
    fives = np.resize(levels, -(-levels.size // 5) * 5).reshape(-1, 5) @ 17 ** np.arange(5)
    packed = fives.astype(">u4").view("uint8").reshape(-1, 4)[:, 1:].tobytes()
    return {
        "levels": base64.b64encode(packed).decode(),
        "labels": "".join(map(str, labels)),
        "train": train,
        "reader": json.loads(READER.read_text("utf-8")),
    }


def as_json(value: Any) -> str:
    """Returns JSON in which no name can end the script element around it: `<` is escaped."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", r"\u003c")
