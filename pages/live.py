"""Live training: a small network learns in the plane and is plotted during training."""

import base64
import threading
import time
from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from lightning import Callback, Trainer
from matplotlib import colormaps
from PIL import Image, ImageDraw
from torch import Tensor

from datamodules import Gates, Points
from models import GAN, Classifier, FeedForward, Flow, PlaneGenerator, PlaneTrunk, PlaneVelocity
from models.base import eval_mode
from models.classifier import is_classifier
from models.sampling import generate

TASKS: dict[str, Callable[[], Any]] = {  # names, and their data
    "XOR": partial(Gates, "xor"),
    "two moons": partial(Points, "moons", labelled=True, count=1024, batch_size=128),
    "GAN, ring": partial(Points, "ring", batch_size=128),
    "flow, ring": partial(Points, "ring", batch_size=128),
}
LEGENDS = {
    "GAN": "Blue points are data, red ones are drawn. The plane is blue where D finds them real.",
    "flow": "Blue points are data, red ones are drawn.",
    "classifier": "Points are blue or red by class, and the plane by the class that it names.",
}
CHOICES = ["relu", "tanh", "sigmoid"]
RATES = [0.001, 0.003, 0.01, 0.03, 0.1]
REDRAW_SECONDS = 0.1  # seconds between two pictures
# Least seconds per step; seconds until a hidden page pauses
MIN_STEP_SECONDS, IDLE_SECONDS = 0.01, 10.0
PLANE_LOW, PLANE_HIGH = -0.25, 1.25  # of the plane that is drawn
GRID_POINTS, PIXELS = 80, 400  # points of the grid along each side, and pixels of a side
SHOWN = 400  # points
COLOURS = ["#1f4e79", "#b3261e"]  # of class 0 and 1; of data and of what is drawn


class Live(Callback):
    """A training that can be started, paused and stepped, with its newest picture.

    Args:
        task: One of `TASKS`.
        hidden: Units of each hidden layer.
        rate: Learning rate.
        activation: Of a classifier's hidden layer.
    """

    def __init__(self, task: str, hidden: int, rate: float, activation: str) -> None:
        self.data = TASKS[task]()
        self.data.setup()
        self.model = build_model(task, hidden, rate, activation)
        self.go, self.one_step, self.ended = threading.Event(), False, False
        self.thread = threading.Thread(target=self._train, daemon=True)
        self.legend = LEGENDS.get(task.partition(",")[0], LEGENDS["classifier"])
        self.progress = "step 0"
        self.picture = plot_live(self.model, self.data)
        self._drawn = self._began = self.seen = 0.0  # times
        RUNNING.add(self)

    def start(self) -> None:
        """Starts or continues, until the page is no longer shown."""
        self.seen = time.monotonic()
        self.go.set()
        if not (self.thread.is_alive() or self.ended):
            self.thread.start()

    def step(self) -> None:
        """Trains one step."""
        self.one_step = True
        self.start()

    def stop(self) -> None:
        """Ends the training for good."""
        self.ended = True
        self.go.set()

    def _train(self) -> None:
        off = ("progress_bar", "model_summary", "checkpointing")
        options: dict[str, Any] = {f"enable_{name}": False for name in off}
        options |= {"logger": False, "log_every_n_steps": 1, "limit_val_batches": 0}
        options |= {"accelerator": "cpu"}
        trainer = Trainer(max_epochs=-1, callbacks=[self], **options)
        try:
            trainer.fit(self.model, datamodule=self.data)
        finally:
            self.ended = True  # also after an error, so that the page does not wait

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self.go.wait()
        self._began = time.monotonic()
        if self.ended:
            trainer.should_stop = True

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if one_step := self.one_step or time.monotonic() - self.seen > IDLE_SECONDS:
            self.go.clear()
        if time.monotonic() - self._drawn > REDRAW_SECONDS or not self.go.is_set():
            self.picture = plot_live(self.model, self.data)
            losses = [f"{k} {v:.3f}" for k, v in trainer.callback_metrics.items() if "loss" in k]
            self.progress = ", ".join([f"step {trainer.global_step}", *losses])
            self._drawn = time.monotonic()
        if one_step:
            self.one_step = False  # now, because the page waits for it and then for nothing else
        time.sleep(max(0.0, MIN_STEP_SECONDS - (time.monotonic() - self._began)))


RUNNING: "WeakSet[Live]" = WeakSet()


def stop_all() -> None:
    """Ends all trainings, and waits for their ends: a thread must not outlive the interpreter."""
    for live in [*RUNNING]:
        live.stop()
        if live.thread.is_alive():
            live.thread.join()


def build_model(task: str, hidden: int, rate: float, activation: str) -> Any:
    """Builds the model of a task."""
    adam = partial(torch.optim.Adam, lr=rate)
    if task.startswith("GAN"):
        slow = partial(torch.optim.Adam, lr=rate, betas=(0.5, 0.99))
        return GAN(
            (2,), generator=partial(PlaneGenerator, hidden=hidden), latent_dim=2,
            trunk=partial(PlaneTrunk, hidden=hidden), generator_optimizer=slow,
            discriminator_optimizer=slow,
        )  # fmt: skip
    if task.startswith("flow"):
        velocity = partial(PlaneVelocity, hidden=hidden)
        return Flow((2,), network=velocity, time_mean=1.5, optimizer=adam)
    layers = partial(FeedForward, hidden=hidden, activation=activation)
    return Classifier((2,), 2, layers, optimizer=adam)


@torch.no_grad()
def plot_live(model: Any, data: Any) -> Image.Image:
    """Plots the network's output over the plane, the data, and generated points."""
    axis = torch.linspace(PLANE_LOW, PLANE_HIGH, GRID_POINTS)
    places = torch.cartesian_prod(axis, axis)
    points, classes = data.splits.train.inputs[:SHOWN], data.splits.train.targets[:SHOWN]
    with eval_mode(model):
        field = plane_values(model, places)
        groups = [points[classes == k] for k in (0, 1)]
        if not is_classifier(model):
            latents, labels = model.draw_latents(SHOWN, torch.Generator().manual_seed(0))
            groups = [points, generate(model, latents, labels)]
    values = field.view(GRID_POINTS, GRID_POINTS).T.flip(0).numpy()
    colours = 255 * (0.35 + 0.65 * colormaps["RdBu_r"](values)[..., :3])
    picture = Image.fromarray(colours.clip(0, 255).astype(np.uint8)).resize((PIXELS, PIXELS))
    pen, size = ImageDraw.Draw(picture), max(2, 6 - len(points) // 60)
    for group, colour in zip(groups, COLOURS, strict=True):
        for x, y in ((group - PLANE_LOW) * PIXELS / (PLANE_HIGH - PLANE_LOW)).tolist():
            box = (x - size, PIXELS - y - size, x + size, PIXELS - y + size)
            pen.ellipse(box, fill=colour, outline="white")
    return picture


def plane_values(model: Any, places: Tensor) -> Tensor:
    """Returns numbers in [0, 1] (N,): P(class 1), P(real) by D, or one half of a flow."""
    if is_classifier(model):
        return model.probabilities(places)[:, 1]
    realness = model.realness(places)
    return torch.full((len(places),), 0.5) if realness is None else 1 - realness.sigmoid()


def add_training(page: Any) -> None:
    """Adds a training that can be started, stopped and changed, to a page."""
    import gradio as gr

    names = [*TASKS]
    with gr.Row():
        with gr.Column(min_width=320):
            task = gr.Radio(names, value=names[0], label="Task", elem_id="task")
            hidden = gr.Slider(1, 64, 16, step=1, label="Hidden units", elem_id="hidden")
            rate = gr.Radio(RATES, value=RATES[2], label="Learning rate")
            activation = gr.Radio(CHOICES, value="tanh", label="Activation of a classifier")
            with gr.Row():
                start = gr.Button("Start", variant="primary", min_width=80)
                pause, step, reset = (
                    gr.Button(name, min_width=80) for name in ("Pause", "Step", "Reset")
                )
        with gr.Column(min_width=PIXELS):
            picture = gr.HTML(elem_id="plane")
            text = gr.Markdown(elem_id="progress")
    kept = gr.State(None, time_to_live=3600, delete_callback=lambda live: live and live.stop())
    timer = gr.Timer(REDRAW_SECONDS, active=False)
    settings: list[Any] = [task, hidden, rate, activation]
    shown = [picture, text]

    def renew(live: Live | None, *values: Any) -> tuple[Any, ...]:
        if live is not None:
            live.stop()
        live = Live(*values)
        return live, *show(live), gr.update(active=False)

    def go(live: Live) -> Any:
        live.start()
        return gr.update(active=True)

    def hold(live: Live) -> Any:
        live.go.clear()
        return gr.update(active=False)

    def one(live: Live) -> tuple[Any, ...]:
        live.step()
        while live.one_step and not live.ended:
            time.sleep(0.01)
        return *show(live), gr.update(active=False)

    quiet: dict[str, Any] = {"show_progress": "hidden"}
    changes = [page.load, reset.click, *(part.input for part in settings)]
    gr.on(changes, renew, [kept, *settings], [kept, *shown, timer], **quiet)
    start.click(go, kept, timer, **quiet)
    pause.click(hold, kept, timer, **quiet)
    step.click(one, kept, [*shown, timer], **quiet)
    timer.tick(show, kept, shown, **quiet)


def show(live: Live) -> tuple[str, str]:
    """Returns the newest picture as HTML, and the text below it."""
    live.seen, buffer = time.monotonic(), BytesIO()
    live.picture.save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    text = f"{live.legend}\n\n### {live.progress}"
    style = f"width: 100%; max-width: {PIXELS}px"
    return f'<img alt="the plane" style="{style}" src="data:image/png;base64,{data}">', text
