"""`python cli.py demo`: a page to play with trained models, in a browser on this machine."""

import html
import math
import os
import tempfile
import warnings
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot
from torchvision.transforms.functional import to_pil_image

import metrics
import pages.page
from callbacks.function_fit import probability_surface
from commands.arguments import checked
from commands.fit import lightning_run
from commands.terminal import without_irrelevant_messages
from datamodules.gates import GATES, Gates
from datamodules.input_spec import InputSpec, class_names, match_spec
from figures.functions import plot_surface
from models.base import Module
from models.classifier import Classifier, both_logits
from models.gates import GateLogistic, GateMLP
from models.generative import Generative, to_pixels
from models.sampling import LatentBatches, generate
from results import RUNS, Run, find_runs
from results.run import time_of
from results.tables import names_of
from runtime.errors import UserError, printable
from runtime.files import ROOT
from runtime.ranges import Port

HOST = "127.0.0.1"  # not reachable from other machines
HOST_NAMES = (HOST, "localhost")
MOST_BYTES, MOST_PIXELS = 4_000_000, 4_000_000  # of a request; of a picture in it
MAX_MODELS = 40  # newest runs that are loaded
CANVAS = 280  # pixels of a side, ten for each of a digit
BRUSH = 12  # pixels, half a stroke's width
SYMBOLS = {  # of a gate's parameters, by their number
    3: ["w₁", "w₂", "b"],
    9: ["u₁₁", "u₁₂", "u₂₁", "u₂₂", "c₁", "c₂", "w₁", "w₂", "b"],
}
FORMULAS = {
    3: "P(1) = σ(w₁ x₁ + w₂ x₂ + b)",
    9: "h₁ = φ(u₁₁ x₁ + u₁₂ x₂ + c₁), h₂ with u₂, c₂; P(1) = σ(w₁ h₁ + w₂ h₂ + b); φ: activation",
}
STARTS: dict[str, tuple[list[float], str]] = {  # weights that compute no gate, and a hint
    "one unit": ([2, 0, -1], "Weights to move by hand. Can you get all rows right?"),
    "two units": ([10, 10, -10, -10, -5, 15, 0, 2, -1], "At the start h₁ is OR, h₂ is NOT AND."),
}
# Config and options, to train where there is none
SMALL_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "classifier": ("mnist_cnn.yaml", {"data.dataset": "digits", "trainer.max_epochs": 5}),
    "generator": ("cgan.yaml", {"data.dataset": "digits", "trainer.max_steps": 200}),
    "gate": ("gates.yaml", {}),
}
SCORES = {"frechet": 1, "accuracy": -1}  # -1: higher is better
OFFLINE = {  # what gradio and its libraries read when they are imported
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "NO_PROXY": f"{HOST},localhost",  # gradio asks its own page whether it answers
}
# Of events that come faster than a function returns, the last one counts.
LATEST: dict[str, Any] = {"trigger_mode": "always_last", "show_progress": "hidden"}
# The playground cannot reach the page around it.
PLAYGROUND = '<iframe title="Train a network" sandbox="allow-scripts" srcdoc="{}"></iframe>'
# On phones, all tabs are in one row, and the playground scrolls with the page.
CSS = """
.note { overflow-wrap: anywhere } .note small { color: var(--block-label-text-color) }
.html-container { padding: 0 !important } iframe { width: 100%; height: 800px; border: 0 }
#table th, #table td { padding: 4px 10px; white-space: nowrap } input { min-width: 0 !important }
#canvas [title=Pan], #canvas [title^=Zoom], #canvas .zoom-number, #canvas .separator,
#canvas .right { display: none }
.gradio-container > .main { padding: 16px clamp(8px, 2.5vw, 32px) !important }
@media (max-width: 600px) { .tab-container button { padding: 0 8px } iframe { height: 1440px } }
"""
# By their names, the best first, with the run that trained them. None: weights to move by hand.
Models = dict[str, tuple[Any, Run | None]]


@checked
def demo(runs: list[Path] | None = None, port: Port = 7860, trust: bool = False) -> None:
    """Serves a page to draw digits, steer a generator and move a gate's weights, until Ctrl-C.

    Args:
        runs: Run folders, or folders of them. By default `runs`, where small models are trained if
            there are none.
        port: Port of this machine, which no other machine can reach.
        trust: Import the classes that checkpoints name, also if their authors are unknown.
    """
    if find_spec("gradio") is None:
        raise UserError('demo needs Gradio: pip install -e ".[demo]"')
    models = load_models([RUNS] if runs is None else runs, trust)
    if runs is None:
        for kind in (kind for kind in SMALL_MODELS if not models[kind]):
            models[kind] = load_models([train_small_model(kind)])[kind]
    with tempfile.TemporaryDirectory(prefix="ladder-demo-") as folder:  # pictures of the page
        os.environ.update(OFFLINE, GRADIO_TEMP_DIR=folder)
        with without_irrelevant_messages():
            serve(build_page(models), port)


def load_models(folders: Sequence[Path], trust: bool = False) -> dict[str, Models]:
    """Loads the newest models of each kind in and below folders; prints why a run is left out.

    The best come first: classifiers of the highest accuracy, generators of the lowest Frechet
    distance, on validation data. Of equal ones and of those without a score, the newest come first.
    """
    for folder in folders:
        if not folder.is_dir() and folder != RUNS:
            raise UserError(f"--runs {folder}: there is no such folder")
    times = {run: time_of(run) for run in find_runs(folders)}
    newest = sorted(filter(times.get, times), key=times.__getitem__, reverse=True)[:MAX_MODELS]
    names = names_of(newest)
    models: dict[str, Models] = {kind: {} for kind in SMALL_MODELS}
    runs = (Run(folder, trust=trust) for folder in newest)
    for run in sorted(runs, key=lambda run: score_of(run)[0]):
        try:
            with warnings.catch_warnings(action="ignore"):  # the reason is printed below
                model = run.model()
        except Exception as error:  # files that others made can fail in any way
            reason = " ".join(str(error).split()) or type(error).__name__
            print(printable(f"{run.folder} is left out: {reason}"))
            continue
        if kind := kind_of(model):
            models[kind][names[run.folder]] = model, run
    return models


def score_of(run: Run) -> tuple[float, str]:
    """Returns a run's score, of val or else of test, low if it is good, and in words."""
    try:
        scores = run.scores()
    except Exception:  # files that others made can fail in any way
        scores = {}
    for name, score in scores.items():
        stage, _, quantity = name.partition("/")
        if quantity in SCORES and score is not None and math.isfinite(score):
            return SCORES[quantity] * score, f"{stage} {metrics.title(name)} {score:.4g}"
    return math.inf, "without a score"


def kind_of(model: Any) -> str:
    """Returns the kind of a model, which selects its tab; empty if there is no tab for it."""
    if isinstance(model, Generative):
        return "generator" if len(model.image_shape) == 3 else ""
    if not isinstance(model, Classifier) or len(model.input_shape) == 3:
        return "classifier" if isinstance(model, Classifier) else ""
    is_gate = (*model.input_shape, model.num_classes) == (2, 2)
    return "gate" if is_gate and len(weights_of(model)) in SYMBOLS else ""


def train_small_model(kind: str) -> Path:
    """Trains a small model of a kind, unless this was done before, and returns its folder."""
    folder = RUNS / f"demo-{kind}"
    if not any(folder.glob("**/checkpoints/*.ckpt")):
        print(f"There is no {kind} in {RUNS}: training a small one first, in a minute.")
        config, options = SMALL_MODELS[kind]
        target = {"trainer.default_root_dir": str(RUNS), "experiment": folder.name}
        file = str(ROOT / "configs" / config)
        lightning_run.run_as_function(["fit", "--config", file], {**options, **target})
    return folder


def own_page_only(app: Any, port: int) -> Any:
    """Wraps an app of starlette, which then refuses requests of other pages, and large ones."""
    from starlette.responses import Response

    own = (None, *(f"http://{name}:{port}".encode() for name in HOST_NAMES))

    async def checked(scope: Any, receive: Any, send: Any) -> None:
        headers, answer = dict(scope.get("headers", ())), app
        if headers.get(b"origin") not in own:
            answer = Response(status_code=403)
        elif b"transfer-encoding" in headers or int(headers.get(b"content-length", 0)) > MOST_BYTES:
            answer = Response(status_code=413)  # also if the length is not given, which pages give
        await answer(scope, receive, send)

    return checked


def serve(page: Any, port: int) -> None:
    """Serves a page to this machine alone, and no file of it, until Ctrl-C."""
    import gradio as gr
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import ClientDisconnect
    from starlette.responses import Response

    def forget(*_: Any) -> Response:
        return Response(status_code=400)

    # Otherwise a foreign page in the same browser could reach this one under its own host name.
    own_names = Middleware(TrustedHostMiddleware, allowed_hosts=HOST_NAMES)
    app: dict[str, Any] = {
        "middleware": [own_names, Middleware(own_page_only, port=port)],
        "exception_handlers": {ClientDisconnect: forget},  # a page was closed during an upload
    }
    Image.MAX_IMAGE_PIXELS = MOST_PIXELS  # Pillow raises an error at twice this number
    fonts: dict[str, Any] = {"font": ["system-ui", "sans-serif"], "font_mono": ["monospace"]}
    try:
        page.queue(default_concurrency_limit=1, max_size=20).launch(
            server_name=HOST, server_port=port, share=False, quiet=True, prevent_thread_lock=True,
            footer_links=[], ssr_mode=False, mcp_server=False, enable_monitoring=False,
            app_kwargs=app, max_file_size="1mb", css=CSS,
            theme=gr.themes.Default(primary_hue="blue", text_size="lg", spacing_size="sm", **fonts),
        )  # fmt: skip
    except OSError as error:
        raise UserError(
            f"--port {port} cannot be opened, because another program uses it: give another"
        ) from error
    print(f"Open http://{HOST}:{port} in a browser of this machine. Ctrl-C stops it.", flush=True)
    page.block_thread()


def build_page(models_by_kind: dict[str, Models]) -> Any:
    """Builds the page."""
    import gradio as gr

    with gr.Blocks(title="Ladder: play with trained models", analytics_enabled=False) as page:
        gr.Markdown("## Ladder: play with trained models")
        for name, kind, add in (
            ("Draw", "classifier", add_classifiers),
            ("Generate", "generator", add_generators),
            ("Gates", "gate", add_gates),
        ):
            with gr.Tab(name):
                models = (gates_to_move() if kind == "gate" else {}) | models_by_kind[kind]
                note = gr.HTML(note_of(kind, models), elem_classes="note")
                if models:
                    chosen = add(page, models)
                    gr.on([page.load, chosen.input], partial(note_of, kind, models), chosen, note)
        with gr.Tab("Train"):
            gr.HTML(PLAYGROUND.format(html.escape(pages.page.build_page())))
    return page


def note_of(kind: str, models: Models, name: str = "") -> str:
    """Returns, as HTML, what to try with a model and which run it is, or what to train."""
    if not models:
        config, options = SMALL_MODELS[kind]
        words = [f"--config configs/{config}", *(f"--{key} {options[key]}" for key in options)]
        return (
            f"There is no {kind} of images in these folders. Train one in a minute, and start the "
            f"demo again without --runs:<br><code>python cli.py fit {' '.join(words)}</code>"
        )
    model, run = models[name := name or next(iter(models))]
    about = STARTS[name][1] if run is None else f"{run.describe()}, {score_of(run)[1]}"
    hint, about = (html.escape(printable(text)) for text in (hint_of(kind, model), about))
    return f"Try this: {hint}<br><small>{about}</small>"


def hint_of(kind: str, model: Any) -> str:
    """Returns what to try with a model."""
    if kind == "gate":
        return "move a weight. What do the line and the loss do?"
    if kind == "generator" and model.num_classes is None:
        return "move the seed. Each is another image."
    if kind == "generator":
        return "choose two classes, and move the share from 0 to 1. Where does the image turn?"
    if (names := class_names(model.input_spec, model.num_classes)) == [*map(str, range(10))]:
        return "draw a 7, then a line through its middle. What does the network get?"
    return f"draw one of its classes, such as {', '.join(names[:8])}."


def add_classifiers(page: Any, models: Models) -> Any:
    """Adds a canvas, and beside it the probabilities of a classifier; returns their dropdown."""
    import gradio as gr

    # With a background, the canvas can be drawn on at once, without a click on its brush.
    white = Image.new("RGB", (CANVAS, CANVAS), "white")
    paper: Any = {"background": white, "layers": [], "composite": None}
    with gr.Row():
        with gr.Column(scale=0, min_width=CANVAS + 100):
            canvas = gr.Sketchpad(
                paper, brush=gr.Brush(BRUSH, ["#000000"], color_mode="fixed"), layers=False,
                sources=[], transforms=[], canvas_size=(CANVAS, CANVAS), fixed_canvas=True,
                image_mode="RGBA", label="Draw here", buttons=[], elem_id="canvas",
            )  # fmt: skip
        with gr.Column():
            chosen = gr.Dropdown([*models], label="Classifier, the best first")
            with gr.Row():
                answer = gr.Label(num_top_classes=10, label="Probability", elem_id="answer")
                seen = gr.Image(label="The network gets", height=CANVAS, buttons=[], elem_id="seen")
    show = partial(classify_drawing, models), [chosen, canvas], [answer, seen]
    gr.on([chosen.input, canvas.input], *show, **LATEST)
    canvas.clear(lambda: paper, None, canvas).then(*show, **LATEST)
    return chosen


@torch.no_grad()
def classify_drawing(
    models: Models, name: str, drawing: Any
) -> tuple[dict[str, float] | None, Any]:
    """Returns the probability of each class for a drawing, and the image that the network gets.

    The drawing becomes black ink on paper, which is brought to the form of the training images.
    """
    model = models[name][0]
    layers = drawing["layers"] if drawing else []  # RGBA (H, W, 4)
    ink = np.max([np.zeros((CANVAS, CANVAS)), *(layer[:, :, 3] / 255 for layer in layers)], axis=0)
    if not ink.any():
        return None, None
    spec = model.input_spec or InputSpec(model.input_shape, 255.0)
    pixels, _ = match_spec(Image.fromarray((255 * (1 - ink)).astype(np.uint8)), spec)
    probabilities = model.probabilities(pixels[None].float() / spec.scale)[0].tolist()
    names = class_names(spec, model.num_classes)
    return dict(zip(names, probabilities, strict=True)), enlarged(pixels)


def enlarged(image: Tensor, side: int = CANVAS) -> Image.Image:
    """Enlarges an image (C, H, W) without smoothing, so that its pixels can be seen."""
    large = to_pil_image(image)
    scale = max(1, side // max(large.size))
    return large.resize((large.width * scale, large.height * scale), Image.Resampling.NEAREST)


def add_generators(page: Any, models: Models) -> Any:
    """Adds the inputs of a generator, and beside them its image; returns their dropdown."""
    import gradio as gr

    with gr.Row():
        with gr.Column(min_width=320):
            chosen = gr.Dropdown([*models], label="Generator, the best first")
            first = gr.Dropdown([], type="index", label="Class", elem_id="class")
            second = gr.Dropdown([], type="index", label="Another class")
            share = gr.Slider(0, 1, 0, step=0.05, label="Share of the other", elem_id="share")
            seed = gr.Slider(0, 999, 0, step=1, label="Seed", elem_id="seed")
        with gr.Column(min_width=400):
            image = gr.Image(show_label=False, height=340, buttons=[], elem_id="sample")
            realness = gr.Markdown(elem_id="realness")

    def choose(name: str) -> list[Any]:
        model = models[name][0]
        if model.num_classes is None:
            return [gr.update(visible=False)] * 3
        names = class_names(model.input_spec, model.num_classes)
        ends = [gr.update(choices=names, value=names[k], visible=True) for k in (0, -1)]
        return [*ends, gr.update(visible=True)]

    inputs: list[Any] = [chosen, first, second, share, seed]
    show = partial(steer, models), inputs, [image, realness]
    start = gr.on([page.load, chosen.input], choose, chosen, [first, second, share], **LATEST)
    start.then(*show, **LATEST)
    gr.on([part.input for part in inputs[1:]], *show, **LATEST)
    return chosen


@torch.no_grad()
def steer(
    models: Models, name: str, first: int | None, second: int | None, share: float, seed: int
) -> tuple[Any, str]:
    """Generates the image of a seed for an interpolation between two classes.

    At 0 it is the first image that `sample` draws of this class and seed.
    """
    model = models[name][0]
    latents = next(iter(LatentBatches(model, 1, int(seed)))).latents
    mixture = labels = None
    if model.num_classes is not None:
        ends = one_hot(torch.tensor([first or 0, second or 0]), model.num_classes).float()
        mixture = torch.lerp(ends[:1], ends[1:], share)
        labels = mixture.argmax(dim=1)  # a discriminator takes no mixtures
    images = generate(model, latents, mixture)
    logits = model.realness(images, labels)
    text = "" if logits is None else f"### P(real) = {float(logits.sigmoid()):.2f}"
    return enlarged(to_pixels(images[0]), 336), text


def add_gates(page: Any, models: Models) -> Any:
    """Adds sliders for the weights of a gate's network, and its decision surface."""
    import gradio as gr

    sliders: list[Any] = []
    end = max(20, *(math.ceil(abs(w)) for m, _ in models.values() for w in weights_of(m)))
    look: dict[str, Any] = {"step": 0.1, "precision": 2, "min_width": 90, "buttons": []}
    with gr.Row():
        with gr.Column(min_width=320):
            with gr.Row():
                chosen = gr.Dropdown([*models], label="Network", scale=2, min_width=200)
                gates = [(gate.upper(), gate) for gate in GATES]
                gate = gr.Radio(gates, label="Gate", scale=3, min_width=350)
            formula = gr.Markdown()
            for row in range(max(SYMBOLS) // 3):
                with gr.Row():
                    for index in range(3 * row, 3 * row + 3):
                        sliders.append(gr.Slider(-end, end, 0, elem_id=f"weight-{index}", **look))
            table = gr.Markdown(elem_id="table")
        with gr.Column(min_width=320):
            surface = gr.Image(show_label=False, buttons=[], elem_id="surface")

    def choose(name: str) -> list[Any]:
        weights = weights_of(models[name][0])
        pairs = zip(SYMBOLS[len(weights)], weights, strict=True)
        shown = [gr.update(label=label, value=value, visible=True) for label, value in pairs]
        hidden = [gr.update(visible=False)] * (len(sliders) - len(shown))
        return [FORMULAS[len(weights)], gate_of(models[name][0]), *shown, *hidden]

    inputs: list[Any] = [chosen, gate, *sliders]
    show = partial(plot_gate, models), inputs, [surface, table]
    start = gr.on([page.load, chosen.input], choose, chosen, [formula, gate, *sliders], **LATEST)
    start.then(*show, **LATEST)
    gr.on([part.input for part in inputs[1:]], *show, **LATEST)
    return chosen


def gates_to_move() -> Models:
    """Returns a network of one unit and one of two hidden units, whose weights compute no gate."""
    models = {"one unit": GateLogistic(), "two units": GateMLP.by_hand("xor")}
    return {name: (with_weights(model, STARTS[name][0]), None) for name, model in models.items()}


def weights_of(model: Module) -> list[float]:
    """Returns all parameters of a model, in the order of `SYMBOLS` for a gate."""
    return nn.utils.parameters_to_vector(model.parameters()).tolist()


def with_weights(model: Module, weights: Sequence[float]) -> Any:
    """Returns a copy of a model with the first of these weights, in the order of `SYMBOLS`."""
    copy = deepcopy(model)
    nn.utils.vector_to_parameters(torch.tensor(weights, dtype=torch.float32), copy.parameters())
    return copy


def gate_of(model: Any) -> str:
    """Returns the gate whose truth table the network matches best."""
    return max(GATES, key=lambda gate: truth_table(model, gate)[0])


def plot_gate(models: Models, name: str, gate: Any, *weights: float) -> tuple[Any, str]:
    """Plots the decision surface of a network with other weights, and writes the truth table."""
    moved = with_weights(models[name][0], weights)
    points, targets = Gates(gate).load_splits().test
    axis = torch.linspace(-0.5, 1.5, 101)
    figure = plot_surface(axis, probability_surface(moved, axis), points, targets, gate.upper())
    file = BytesIO()
    figure.savefig(file, format="png")
    return Image.open(file), truth_table(moved, gate)[1]


@torch.no_grad()
def truth_table(model: Any, gate: Any) -> tuple[int, str]:
    """Returns how many rows are right, and the table as Markdown with losses and what to do."""
    points, targets = Gates(gate).load_splits().test
    ones = model.probabilities(points)[:, 1]
    losses = cross_entropy(both_logits(model(points)), targets, reduction="none")
    right = (ones > 0.5) == targets.bool()
    one_unit = len(weights_of(model)) == min(SYMBOLS)
    hint = "Solved. Now double w₁, w₂ and b: what does the loss do?"
    if one_unit and gate in ("xor", "xnor"):
        hint = "One unit cannot: no straight line divides the 1s from the 0s. Choose two units."
    elif not right.all():
        x1, x2 = points[k := int(right.int().argmin())].int().tolist()
        terms = ["w₁"] * x1 + ["w₂"] * x2 if one_unit else ["w₁ h₁", "w₂ h₂"]
        wanted = "above" if targets[k] else "below"
        hint = f"Wrong at x₁ = {x1}, x₂ = {x2}: {' + '.join([*terms, 'b'])} has to be {wanted} 0."
    heading = f"### {(count := int(right.sum()))} of 4 right, mean loss {losses.mean():.2f}"
    lines = [heading, hint, "", f"x₁|x₂|{gate.upper()}|P(1)|loss", "-|-|-|-|-"]
    for (x1, x2), target, one, loss, done in zip(points, targets, ones, losses, right, strict=True):
        one = f"{100 * one:.0f} %{'' if done else ' ✗'}"
        lines += [f"{x1:.0f}|{x2:.0f}|{target}|{one}|{loss:.2f}"]
    return count, "\n".join(lines)
