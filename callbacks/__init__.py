"""Lightning callbacks: what a run shows and records."""

from callbacks.curves import Curves
from callbacks.data_figures import DataFigures
from callbacks.evaluation import Evaluation
from callbacks.fallback import FallbackSteps
from callbacks.finite import FiniteLoss
from callbacks.function_fit import FunctionFit
from callbacks.network import NetworkFigure, Summary
from callbacks.progress import Progress
from callbacks.quality import Quality
from callbacks.samples import SampleGrid

# Each acts on its own kinds of model and ignores the others.
DEFAULT_CALLBACKS = (
    FiniteLoss,
    Curves,
    NetworkFigure,
    DataFigures,
    Evaluation,
    FunctionFit,
)

__all__ = [
    "DEFAULT_CALLBACKS",
    "Curves", "DataFigures", "Evaluation", "FallbackSteps", "FiniteLoss", "FunctionFit",
    "NetworkFigure", "Progress", "Quality", "SampleGrid", "Summary",
]  # fmt: skip
