"""`python cli.py demo`: one file to play with trained models and to train small ones."""

import html
import math
import os
import socket
import sys
import warnings
import webbrowser
from pathlib import Path
from shlex import quote
from typing import Any

from commands.arguments import checked
from commands.fit import lightning_run
from figures.pictures import output_folder
from models.classifier import Classifier
from models.generative import Generative
from pages.page import build_page
from pages.trained import run_data
from results import RUNS, Run, find_runs
from results.run import time_of
from runtime.errors import printable
from runtime.files import ROOT, write

PAGE = Path("demo/index.html")  # alone in its folder, so that serving it shares nothing else
MAX_MODELS = 40  # newest runs that are loaded
PORT = 8000
# Config and options, to train where there is none
SMALL_RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "classifier": ("mnist_cnn.yaml", {"data.dataset": "digits", "trainer.max_epochs": 5}),
    "generator": ("cgan.yaml", {"data.dataset": "digits", "trainer.max_steps": 200}),
}
SCORES = {"frechet": 1, "accuracy": -1}  # -1: higher is better
# The page cannot reach the notebook around it.
FRAME = (
    '<iframe title="Ladder" sandbox="allow-scripts allow-downloads" srcdoc="{}" '
    'style="width: 100%; height: 900px; border: 0"></iframe>'
)


class Page:
    """A page in a file, which a notebook shows in a frame."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"Page({str(self.path)!r})"

    def _repr_html_(self) -> str:
        return FRAME.format(html.escape(self.path.read_text("utf-8")))


@checked
def demo(
    runs: list[Path] | None = None,
    out: Path = PAGE,
    open: bool = True,
    real: bool = True,
    trust: bool = False,
) -> Page:
    """Writes a page to play with trained models and to train small ones, and opens it in a browser.

    The page is one file, which needs no network and no server.

    Args:
        runs: Runs to show. By default the best of each kind of model in `runs`, where small ones
            are trained first if there are none.
        out: The file, or its folder.
        open: Open it in this machine's browser. `false`: only write it.
        real: Put some real images beside the generated ones. `false`: leave them out, so that you
            may pass on the file if you may not pass on the data.
        trust: Import the classes that checkpoints name, also if their authors are unknown.
    """
    path = out if out.suffix == ".html" else out / PAGE.name
    output_folder(path.parent, path != PAGE)
    if runs:
        shown = [run_data(run, real) for run in [Run.find(text, trust) for text in runs]]
    else:
        shown = best_runs(RUNS, real, trust)
    write(path, lambda file: file.write_text(build_page(shown), "utf-8"))
    names = ", ".join(printable(data["name"]) for data in shown)
    print(f"{path}: {path.stat().st_size / 1e3:,.0f} kB, with {names}. Open it in a browser.")
    print(f"On phones in this network: {serving(path)}")
    if open and has_display():
        webbrowser.open(path.absolute().as_uri())
    return Page(path)


def best_runs(folder: Path, real: bool = True, trust: bool = False) -> list[dict[str, Any]]:
    """Returns the best run of each kind of model in a folder, as data for the page.

    Trains small ones first if there is no classifier or generator of images. The best have the
    highest accuracy or the lowest Frechet distance on validation data. Of equal ones and of those
    without a score, the newest come first. Prints why a run is left out.
    """
    shown: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in SMALL_RUNS}
    times = {run: time_of(run) for run in find_runs([folder])}
    newest = sorted(filter(times.get, times), key=times.__getitem__, reverse=True)[:MAX_MODELS]
    for run in sorted((Run(at, trust=trust) for at in newest), key=score_of):
        try:
            with warnings.catch_warnings(action="ignore"):  # the reason is printed below
                model = run.model()
                name, kind = type(model).__name__, kind_of(model)
                if kind and name not in shown[kind]:
                    shown[kind][name] = run_data(run, real)
        except Exception as error:  # files that others made can fail in any way
            reason = " ".join(str(error).split()) or type(error).__name__
            print(printable(f"{run.folder} is left out: {reason}"))
    for kind in (kind for kind in SMALL_RUNS if not shown[kind]):
        shown[kind][""] = run_data(Run.find(train_small_run(kind, folder)), real)
    return [data for runs in shown.values() for data in runs.values()]


def score_of(run: Run) -> float:
    """Returns a run's score, of val or else of test, low if it is good; infinite: it has none."""
    try:
        scores = run.scores()
    except Exception:  # files that others made can fail in any way
        scores = {}
    for name, score in scores.items():
        quantity = name.partition("/")[2]
        if quantity in SCORES and score is not None and math.isfinite(score):
            return SCORES[quantity] * score
    return math.inf


def kind_of(model: Any) -> str:
    """Returns what a model of images is; empty: the page does not show it."""
    if isinstance(model, Generative):
        return "generator" if len(model.image_shape) == 3 else ""
    return "classifier" if isinstance(model, Classifier) and len(model.input_shape) == 3 else ""


def train_small_run(kind: str, folder: Path) -> Path:
    """Trains a small model of a kind, and returns the folder of its runs."""
    print(f"There is no {kind} of images in {folder}: training a small one first, in a minute.")
    config, options = SMALL_RUNS[kind]
    target = {"trainer.default_root_dir": str(folder), "experiment": f"demo-{kind}"}
    file = str(ROOT / "configs" / config)
    lightning_run.run_as_function(["fit", "--config", file], {**options, **target})
    return folder / target["experiment"]


def has_display() -> bool:
    """Returns whether a browser can open a window here, not only a program for text."""
    needed = sys.platform.startswith(("linux", "freebsd"))
    return not needed or bool(os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"})


def serving(path: Path) -> str:
    """Returns the command that serves a page's folder in the network, and the page's address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # sends nothing
        try:
            probe.connect(("192.0.2.1", 9))  # an address of no machine, so the default route
            address = probe.getsockname()[0]
        except OSError:  # without a network
            address = socket.gethostname()
    name = "" if path.name == "index.html" else path.name
    command = f"python -m http.server {PORT} --directory {quote(str(path.parent))}"
    shared = " (which also shares the other files there)" * (len(os.listdir(path.parent)) > 1)
    return f"{command}{shared}, then open http://{address}:{PORT}/{name}"
