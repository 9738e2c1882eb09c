"""The tab of `demo` with a GAN: choose class, seed and latents, and a path to another image."""

from typing import Any

from commands.demo import generator
from commands.demo.generator import SLIDERS, Wish
from commands.demo.models import Found, Trained
from commands.demo.parts import LATEST, PICTURE, PLAIN, Shelf, as_image

LARGEST_SEED = 999
STILL, SEEDS, CLASSES = "nothing", "to another seed", "to another class"
NEAR = "The nearest training images, with their distance (pixels are 0 to 1)"
HIGH = 5.0  # of a slider before the model is known


class GeneratorTab:
    """The parts of the tab that change, and what changes them."""

    def __init__(self, shelf: Shelf) -> None:
        import gradio as gr

        self.shelf = shelf
        seeds: dict[str, Any] = {"maximum": LARGEST_SEED, "step": 1, **PLAIN}
        classes: dict[str, Any] = {"type": "index", "min_width": 100}
        with gr.Row():
            with gr.Column(scale=4, min_width=260):
                self.chosen = gr.Dropdown(label="GAN, the newest first", elem_id="gans")
                self.label = gr.Dropdown(label="Class", **classes, elem_id="class")
                self.seed = gr.Slider(0, value=0, label="Seed", **seeds)
            with gr.Column(scale=5, min_width=300):
                self.sliders = _sliders()
            with gr.Column(scale=4, min_width=260):
                self.image = gr.Image(**PICTURE, show_label=False, height=255, elem_id="sample")
                self.score = gr.Markdown(elem_id="score")
        with gr.Row():
            with gr.Column(scale=4, min_width=260):
                self.way = gr.Radio([STILL], value=STILL, label="Interpolate")
                with gr.Row():
                    self.other_seed = gr.Slider(
                        0, value=1, label="To seed", visible=False, **seeds, min_width=100
                    )
                    self.other_label = gr.Dropdown(label="To class", visible=False, **classes)
                    self.share = gr.Slider(
                        0, 1, 0, step=0.05, label="Share", visible=False, **PLAIN, min_width=100
                    )
            with gr.Column(scale=9, min_width=560):
                self.path = gr.Image(**PICTURE, show_label=False, visible=False, height=100)
                self.near = gr.Markdown()
                self.neighbors = gr.Image(**PICTURE, show_label=False, height=105)
        self._connect()

    @property
    def choices(self) -> list[Any]:
        """The components that `refreshed` sets."""
        return [self.chosen]

    def refreshed(self, found: Found) -> list[Any]:
        """Returns updates of the choices: the newest model."""
        import gradio as gr

        names = [*found.gans]
        return [gr.update(choices=names, value=names[0] if names else None)]

    def begin(self, event: Any) -> None:
        """Shows the first model's image after an event."""
        parts = [self.label, self.other_label, self.way, *self.sliders]
        for cause in (event.then, self.chosen.input):
            chosen = cause(self._choose, [self.chosen, self.seed], parts, **LATEST)
            chosen.then(self._draw, self._inputs, self._outputs, **LATEST)

    def _connect(self) -> None:
        import gradio as gr

        self._inputs = [
            self.chosen, self.label, self.seed, self.way, self.other_label, self.other_seed,
            self.share, *self.sliders,
        ]  # fmt: skip
        self._outputs = [self.image, self.score, self.path, self.near, self.neighbors]
        moved = self.seed.input(
            lambda name, seed: self._values(name, seed), [self.chosen, self.seed], self.sliders,
            **LATEST,
        )  # fmt: skip
        moved.then(self._draw, self._inputs, self._outputs, **LATEST)
        others = [self.label, self.way, self.other_label, self.other_seed, self.share]
        changes = [part.input for part in [*others, *self.sliders]]
        gr.on(changes, self._draw, self._inputs, self._outputs, **LATEST)
        parts = [self.other_seed, self.other_label, self.share]
        self.way.change(_parts_of, self.way, parts, queue=False)

    def _one(self, name: str | None) -> Trained | None:
        return self.shelf.found.gans.get(name or "")

    def _values(self, name: str | None, seed: int) -> list[float]:
        one: Any = self._one(name)
        return [0.0] * SLIDERS if one is None else generator.slider_values(one.model, seed)

    def _choose(self, name: str | None, seed: int) -> list[Any]:
        """Sets classes, ways and sliders for a model."""
        import gradio as gr

        one: Any = self._one(name)
        classes = one.classes if one is not None and one.model.num_classes is not None else []
        low, high = (-HIGH, HIGH) if one is None else generator.slider_range(one.model)
        values = self._values(name, seed)
        known = 0 if one is None else one.model.latent_dim
        return [
            gr.update(
                choices=classes, value=classes[0] if classes else None, visible=bool(classes)
            ),
            gr.update(choices=classes, value=classes[-1] if classes else None),
            gr.update(choices=[STILL, SEEDS, CLASSES] if classes else [STILL, SEEDS], value=STILL),
            *(
                gr.update(minimum=low, maximum=high, value=value, visible=place < known)
                for place, value in enumerate(values)
            ),
        ]

    def _draw(
        self, name: str | None, label: int | None, seed: int, way: str, other_label: int | None,
        other_seed: int, share: float, *sliders: float,
    ) -> list[Any]:  # fmt: skip
        import gradio as gr

        one = self._one(name)
        hidden = gr.update(visible=False)
        if one is None:
            return [None, "", hidden, "", hidden]
        ends = (int(other_seed) if way == SEEDS else None, other_label if way == CLASSES else None)
        wish = Wish(int(seed), sliders, label or 0, *ends)
        shown = generator.draw(one, wish, 0.0 if way == STILL else share)
        near = shown.neighbors
        return [
            shown.image,
            f"### P(real) = {shown.score:.2f}\nAt 0.5 the discriminator cannot tell.",
            gr.update(value=as_image(shown.path), visible=way != STILL),
            shown.missing if near is None else NEAR,
            gr.update(value=near and as_image(near), visible=near is not None),
        ]


def _parts_of(way: str) -> list[Any]:
    """Shows the parts that a way to interpolate needs."""
    import gradio as gr

    return [gr.update(visible=v) for v in (way == SEEDS, way == CLASSES, way != STILL)]


def _sliders() -> list[Any]:
    """Adds the sliders of the first latents, in two columns."""
    import gradio as gr

    sliders = []
    for row in range(0, SLIDERS, 2):
        with gr.Row():
            for place in (row, row + 1):
                name = f"Latent {place + 1}"
                sliders.append(
                    gr.Slider(-HIGH, HIGH, 0, **PLAIN, step=0.01, label=name, min_width=120)
                )
    return sliders


def add(shelf: Shelf) -> GeneratorTab:
    """Adds the tab's content to the page."""
    return GeneratorTab(shelf)
