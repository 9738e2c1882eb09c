"""The page of `demo`: its three tabs, and what they share."""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_hex, to_rgb

from commands.demo import digits_tab, gate_tab, generator_tab
from commands.demo.models import Found, find
from commands.demo.parts import QUEUE, Shelf
from commands.demo.training import NAMES, RECIPES, Training
from figures.style import colours

TITLE = "Ladder: play with trained models"
CSS = """
main.fillable { max-width: 1500px !important; padding: 4px 20px !important; }
h1 { font-size: 1.4rem !important; margin: 0 !important; }
h2, h3 { margin: 0 0 4px 0 !important; }
button[role=tab] { font-size: 1.25rem !important; }
progress { width: 300px; height: 1rem; }
progress::-webkit-progress-value, progress::-moz-progress-bar { background: #0173b2; }
#training { font-size: 1.1rem; }
table { font-size: 1.1rem; margin: 0 !important; }
td, th { padding: 3px 18px !important; }
"""


def theme() -> Any:
    """Returns the look of the page: large letters of this machine, the figures' blue."""
    import gradio as gr

    blue = gr.themes.Color(*_shades(colours()[0]))
    fonts: dict[str, Any] = {"font": ["system-ui", "sans-serif"], "font_mono": ["monospace"]}
    return gr.themes.Default(primary_hue=blue, text_size="lg", spacing_size="sm", **fonts)


def _shades(colour: str) -> list[str]:
    """Returns eleven shades of a colour, from nearly white to nearly black."""
    rgb = np.array(to_rgb(colour))
    light = [1 - (1 - rgb) * share for share in (0.06, 0.12, 0.25, 0.45, 0.7)]
    dark = [rgb * share for share in (1, 0.85, 0.7, 0.55, 0.4, 0.3)]
    return [to_hex(tuple(shade)) for shade in light + dark]


def missing_in(found: Found) -> list[str]:
    """Returns the names of the small models that the page can train, because it has none."""
    models = {"demo-classifier": found.classifiers, "demo-cgan": found.gans}
    return [name for name, others in models.items() if not others]


def build(runs: Path, trust: bool, training: Training) -> Any:
    """Builds the page."""
    import gradio as gr

    shelf = Shelf(runs, trust)
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.Markdown(f"# {TITLE}")
        with gr.Column(visible=False) as missing:
            reason = gr.Markdown()
            button = gr.Button("Train small models now (about a minute)", variant="primary")
            state = gr.HTML(elem_id="training")
        with gr.Tabs():
            with gr.Tab("Classifier"):
                digits = digits_tab.add(shelf)
            with gr.Tab("Generator"):
                generator = generator_tab.add(shelf)
            with gr.Tab("Logic gate"):
                gate = gate_tab.add()
        with gr.Accordion("Run folders that cannot be used", visible=False) as left_out:
            skipped = gr.Markdown()

        def refresh() -> list[Any]:
            found = shelf.refresh()
            lacks = " and no ".join(NAMES[name] for name in missing_in(found))
            lines = "\n".join(f"- `{line}`" for line in found.skipped)
            label = f"Run folders that cannot be used ({len(found.skipped)})"
            return [
                gr.update(visible=bool(lacks)),
                f"There is no {lacks} in `{runs}`. Small ones learn from scikit-learn's digits.",
                gr.update(visible=bool(lines), label=label),
                lines,
                *digits.refreshed(found),
                *generator.refreshed(found),
            ]

        def train() -> Iterator[str]:
            recipes = {name: RECIPES[name] for name in missing_in(find(runs, trust))}
            for share, line in training.follow(recipes):
                yield f'<progress value="{share:.2f}"></progress> {escape(line)}'

        shown = [missing, reason, left_out, skipped, *digits.choices, *generator.choices]
        loaded = page.load(refresh, None, shown, **QUEUE, show_progress="hidden")
        own: dict[str, Any] = {"concurrency_id": "training", "concurrency_limit": 1}
        trained = button.click(
            train, None, state, **own, trigger_mode="once", show_progress="hidden"
        )
        refreshed = trained.then(refresh, None, shown, **QUEUE, show_progress="hidden")
        gate.begin(loaded)
        for event in (loaded, refreshed):
            digits.begin(event)
            generator.begin(event)
    return page.queue(default_concurrency_limit=1)
