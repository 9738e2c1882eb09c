"""A page that trains in the browser, without a server: `export --format playground`.

`page.html` is its frame, and the scripts, in their order:

- `network.js`: a network with hand-written gradients, and its optimizers
- `data.js`: random numbers and points
- `drift.js`, `trainers.js`: the four trainings
- `pictures.js`, `scenes.js`: how to paint, and what each method shows
- `page.js`: the controls, and the loop that trains and paints
"""

from pathlib import Path

FOLDER = Path(__file__).parent
SCRIPTS = "network", "data", "drift", "trainers", "pictures", "scenes", "page"


def playground_page() -> str:
    """Returns the page as HTML that loads nothing."""
    texts = [(FOLDER / f"{name}.js").read_text("utf-8") for name in SCRIPTS]
    return (FOLDER / "page.html").read_text("utf-8").replace("%script%", "\n".join(texts))
