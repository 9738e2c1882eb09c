"""The canvas of `demo`: drawn on with a mouse, a pen or a finger; its value is a PNG's data URL.

Gradio's own image editor draws only after a click on its brush, and needs WebGL.
"""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

SIDE = 280  # pixels: ten times those of a digit
BRUSH = 24
PREFIX = "data:image/png;base64,"
LARGEST = 1 << 20  # characters of a data URL

HTML = f"""
<canvas width="{SIDE}" height="{SIDE}" aria-label="Draw here"></canvas>
<button type="button">Clear the drawing</button>
"""
CSS = f"""
canvas {{ display: block; width: {SIDE}px; height: {SIDE}px; background: white;
          border: 2px solid #0173b2; border-radius: 6px; cursor: crosshair; touch-action: none; }}
button {{ margin-top: 6px; width: {SIDE}px; padding: 6px; font-size: 1.1rem;
          border: 1px solid #949494; border-radius: 6px; cursor: pointer; }}
"""
SCRIPT = f"""
const canvas = element.querySelector("canvas"), pen = canvas.getContext("2d");
pen.lineWidth = {BRUSH}; pen.lineCap = pen.lineJoin = "round";
const place = (event) => {{
  const box = canvas.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}};
const tell = (value) => {{ props.value = value; trigger("input"); }};
let last = null;
canvas.addEventListener("pointerdown", (event) => {{
  canvas.setPointerCapture(event.pointerId);
  last = place(event);
  pen.beginPath(); pen.moveTo(...last); pen.lineTo(...last); pen.stroke();
}});
canvas.addEventListener("pointermove", (event) => {{
  if (!last) return;
  pen.beginPath(); pen.moveTo(...last); last = place(event); pen.lineTo(...last); pen.stroke();
}});
for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => {{
  if (last) {{ last = null; tell(canvas.toDataURL("image/png")); }}
}});
element.querySelector("button").addEventListener("click", () => {{
  pen.clearRect(0, 0, canvas.width, canvas.height); tell("");
}});
"""


def add(**options: Any) -> Any:
    """Adds a canvas to the page."""
    import gradio as gr

    parts: dict[str, Any] = {"html_template": HTML, "css_template": CSS, "js_on_load": SCRIPT}
    return gr.HTML("", **parts, apply_default_css=False, **options)


def ink_of(value: str | None) -> np.ndarray:
    """Returns the ink (H, W), 0 to 1, of a canvas's value; no ink if that is no drawing."""
    nothing = np.zeros((SIDE, SIDE), np.float32)
    if not value or not value.startswith(PREFIX) or len(value) > LARGEST:
        return nothing
    try:
        file = io.BytesIO(base64.b64decode(value.removeprefix(PREFIX), validate=True))
        with Image.open(file, formats=["PNG"]) as image:
            if image.size != (SIDE, SIDE):
                return nothing
            alpha = image.convert("RGBA").getchannel("A")
    except (ValueError, OSError):  # the page of an older version, or another program
        return nothing
    return np.asarray(alpha, np.float32) / 255
