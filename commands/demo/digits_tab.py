"""The tab of `demo` with classifiers: draw a digit, or upload an image."""

from pathlib import Path
from typing import Any

from commands.demo import canvas, digits
from commands.demo.canvas import SIDE
from commands.demo.models import Found, Trained
from commands.demo.parts import LATEST, PICTURE, Shelf, as_image
from datamodules.image_files import UnreadableImageError

SIDE_BY_SIDE = 3
DRAW, UPLOAD = "Draw", "Upload an image"
NONE_CHOSEN, NONE = "Choose a classifier.", "There is no classifier yet."
HINTS = {DRAW: "Draw on the white square.", UPLOAD: "Upload an image."}


class DigitsTab:
    """The parts of the tab that change, and what changes them."""

    def __init__(self, shelf: Shelf) -> None:
        import gradio as gr

        self.shelf = shelf
        with gr.Row():
            with gr.Column(scale=0, min_width=SIDE + 20):
                self.source = gr.Radio([DRAW, UPLOAD], value=DRAW, show_label=False)
                self.canvas = canvas.add(elem_id="canvas")
                self.file = gr.Image(
                    label="Image", type="filepath", image_mode=None, sources=["upload"],
                    visible=False, height=SIDE, buttons=[], elem_id="upload",
                )  # fmt: skip
            with gr.Column():
                self.chosen = gr.Dropdown(
                    multiselect=True, max_choices=SIDE_BY_SIDE, elem_id="classifiers",
                    label=f"Classifiers: up to {SIDE_BY_SIDE}, the newest first",
                )  # fmt: skip
                self.message = gr.Markdown(elem_id="message")
                with gr.Row():
                    self.columns = [_column(place) for place in range(SIDE_BY_SIDE)]
        with gr.Accordion("What each class would like to see", open=True):
            self.preferred = [
                gr.Image(visible=False, **PICTURE, container=False) for _ in range(SIDE_BY_SIDE)
            ]
        self._connect()

    @property
    def choices(self) -> list[Any]:
        """The components that `refreshed` sets."""
        return [self.chosen, self.source]

    def refreshed(self, found: Found) -> list[Any]:
        """Returns updates of the choices: the newest model, and a canvas if it takes drawings."""
        import gradio as gr

        names = [*found.classifiers]
        draws = not names or digits.takes_drawings(found.classifiers[names[0]].frame)
        return [gr.update(choices=names, value=names[:1]), DRAW if draws else UPLOAD]

    def begin(self, event: Any) -> None:
        """Shows the first model's results after an event."""
        event.then(self._prefer, self.chosen, self.preferred, **LATEST)

    def _connect(self) -> None:
        import gradio as gr

        outputs = [self.message, *(part for column in self.columns for part in column)]
        inputs = [self.chosen, self.source, self.canvas, self.file]
        changes = [self.canvas.input, *(p.change for p in (self.chosen, self.source, self.file))]
        gr.on(changes, self._answer, inputs, outputs, **LATEST)
        self.chosen.input(self._prefer, self.chosen, self.preferred, **LATEST)
        self.source.change(
            lambda source: [gr.update(visible=source == name) for name in (DRAW, UPLOAD)],
            self.source, [self.canvas, self.file], queue=False,
        )  # fmt: skip

    def _chosen(self, names: list[str]) -> list[Trained]:
        known = self.shelf.found.classifiers
        return [known[name] for name in names or [] if name in known]

    def _answer(self, names: list[str], source: str, drawing: str, file: str | None) -> list[Any]:
        """Returns a message, and an update for each part of each column."""
        import gradio as gr

        drawn: Any = Path(file) if file and source == UPLOAD else None
        if source == DRAW:
            drawn = canvas.ink_of(drawing)
        chosen = self._chosen(names)
        message = "" if chosen else NONE_CHOSEN if self.shelf.found.classifiers else NONE
        parts: list[Any] = []
        for one in chosen:
            try:
                pixels = None if drawn is None else digits.as_input(drawn, one.frame)
            except UnreadableImageError as error:
                pixels, message = None, f"This file {error}."
            if pixels is None:
                message = message or HINTS[source]
                continue
            found = digits.answer(one, pixels)
            view = as_image(digits.draw_answer(found, wide=len(chosen) == 1))
            name = one.name if len(chosen) > 1 else ""
            parts += [gr.update(visible=True), name, f"## {found.text}", view]
        hidden = [gr.update(visible=False), "", "", None]
        return [message, *parts, *hidden * (SIDE_BY_SIDE - len(parts) // len(hidden))]

    def _prefer(self, names: list[str]) -> list[Any]:
        import gradio as gr

        figures = [digits.preferred_inputs(one) for one in self._chosen(names)]
        shown = [gr.update(value=as_image(figure), visible=True) for figure in figures]
        return shown + [gr.update(visible=False)] * (SIDE_BY_SIDE - len(shown))


def _column(place: int) -> list[Any]:
    """Adds the results of one classifier: name, class, and a picture."""
    import gradio as gr

    with gr.Column(visible=False, min_width=250) as column:
        name = gr.Markdown()
        text = gr.Markdown(elem_id=f"class-{place}")
        view = gr.Image(**PICTURE, show_label=False, container=False)
    return [column, name, text, view]


def add(shelf: Shelf) -> DigitsTab:
    """Adds the tab's content to the page."""
    return DigitsTab(shelf)
