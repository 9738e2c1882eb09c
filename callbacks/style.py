"""Style of all figures: readable from the back row, and by colour-blind eyes."""

from typing import Any

from cycler import cycler

COLOURS = [  # seaborn's palette "colorblind", without yellow and light pink
    "#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#56b4e9", "#949494",
]  # fmt: skip
STYLE: Any = {
    "font.size": 14,
    "axes.titlesize": 14,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=COLOURS),
    "lines.linewidth": 2,
    "lines.markersize": 5,
    "legend.frameon": False,
    "legend.fontsize": 12,
    "figure.dpi": 110,
    "svg.fonttype": "none",  # letters stay text
    "pdf.fonttype": 42,
}
