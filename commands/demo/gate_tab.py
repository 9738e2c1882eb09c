"""The tab of `demo` with a logic gate: move the weights, and see the decision surface move."""

from collections.abc import Callable, Sequence
from typing import Any, cast

from commands.demo.gate import KINDS, LIMIT, WEIGHTS, Gate, by_hand, network, surface, truth_table
from commands.demo.parts import LATEST, PICTURE, PLAIN, as_image
from datamodules.gates import GATES

FORMULAS = {
    KINDS[0]: "P(1) = σ(w₁ x₁ + w₂ x₂ + b)",
    KINDS[1]: "h₁ = σ(u₁₁ x₁ + u₁₂ x₂ + c₁), h₂ = σ(u₂₁ x₁ + u₂₂ x₂ + c₂), "
    "P(1) = σ(w₁ h₁ + w₂ h₂ + b)",
}  # fmt: skip
START = by_hand("or")
MOST = len(WEIGHTS[KINDS[1]])
SUBSCRIPTS = str.maketrans("12", "₁₂")


class GateTab:
    """The parts of the tab that change, and what changes them."""

    def __init__(self) -> None:
        import gradio as gr

        names = [(gate.upper(), gate) for gate in GATES]
        with gr.Row():
            with gr.Column(scale=7, min_width=420):
                with gr.Row():
                    self.gate = gr.Radio(
                        names, value=START.gate, label="Gate", elem_id="gate", scale=7
                    )
                    self.kind = gr.Radio([*KINDS], value=START.kind, label="Network", scale=6)
                self.formula = gr.Markdown(FORMULAS[START.kind])
                self.sliders = _sliders()
                with gr.Row():
                    buttons = [
                        gr.Button(f"{name} by hand", min_width=80, size="sm") for name, _ in names
                    ]
            with gr.Column(scale=5, min_width=380):
                self.surface = gr.Image(**PICTURE, show_label=False, height=400, elem_id="surface")
                self.table = gr.Markdown(elem_id="table")
        self._inputs = [self.gate, self.kind, *self.sliders]
        self._outputs = [self.surface, self.table]
        self._connect([button.click for button in buttons])

    def begin(self, event: Any) -> None:
        """Draws the first surface after an event."""
        event.then(draw, self._inputs, self._outputs, **LATEST)

    def _connect(self, clicks: list[Any]) -> None:
        import gradio as gr

        changes = [part.input for part in [self.gate, *self.sliders]]
        gr.on(changes, draw, self._inputs, self._outputs, **LATEST)
        parts = [self.formula, *self.sliders]
        changed = self.kind.input(lambda kind: settings(kind, ()), self.kind, parts, queue=False)
        self.begin(changed)
        for click, gate in zip(clicks, GATES, strict=True):
            self.begin(click(preset(gate), None, [self.gate, self.kind, *parts], queue=False))


def preset(gate: str) -> Callable[[], list[Any]]:
    """Returns a function that sets gate, network and weights to those that compute the gate."""
    solution = by_hand(cast(Gate, gate))
    return lambda: [solution.gate, solution.kind, *settings(solution.kind, solution.weights)]


def settings(kind: str, weights: Sequence[float]) -> list[Any]:
    """Returns the formula of a network, and updates that show its weights; without any, 0."""
    import gradio as gr

    names = WEIGHTS[kind]
    values = [*weights] or [0.0] * len(names)
    shown = [
        gr.update(label=name.translate(SUBSCRIPTS), value=value, visible=True)
        for name, value in zip(names, values, strict=True)
    ]
    return [FORMULAS[kind], *shown, *[gr.update(visible=False)] * (MOST - len(shown))]


def draw(gate: Gate, kind: str, *weights: float) -> list[Any]:
    """Draws the decision surface, and writes the truth table."""
    model = network(kind, weights)
    rows = truth_table(model, gate)
    right = sum(row.is_right for row in rows)
    lines = [f"### {right} of 4 right", "", f"| x₁ | x₂ | {gate.upper()} | P(1) | |", "|-|-|-|-|-|"]
    for row in rows:
        cells = *row.inputs, row.wanted, f"{row.output:.2f}", "right" if row.is_right else "WRONG"
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return [as_image(surface(model, gate)), "\n".join(lines)]


def _sliders() -> list[Any]:
    """Adds the sliders of the weights, three in a row."""
    import gradio as gr

    sliders = []
    names, weights = WEIGHTS[START.kind], START.weights
    for row in range(0, MOST, 3):
        with gr.Row():
            for place in range(row, row + 3):
                shown = place < len(names)
                label = names[place].translate(SUBSCRIPTS) if shown else ""
                value = weights[place] if shown else 0.0
                sliders.append(
                    gr.Slider(-LIMIT, LIMIT, value, **PLAIN, step=0.5, label=label, visible=shown,
                              min_width=120, elem_id=f"weight-{place}")
                )  # fmt: skip
    return sliders


def add() -> GateTab:
    """Adds the tab's content to the page."""
    return GateTab()
