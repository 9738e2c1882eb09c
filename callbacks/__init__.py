"""Lightning callbacks: progress, samples, figures, tables and graphs of a run."""

from callbacks.curves import Curves, LogInterval
from callbacks.dashboard import Dashboard
from callbacks.data_figures import DataFigures
from callbacks.decision_surface import DecisionSurface
from callbacks.evaluation import Evaluation
from callbacks.fallback import FallbackSteps
from callbacks.finite import FiniteLoss
from callbacks.function_fit import FunctionFit
from callbacks.graph import NetworkGraph
from callbacks.health import Health
from callbacks.network_figure import NetworkFigure
from callbacks.progress import Progress, Speed
from callbacks.quality import Quality
from callbacks.samples import SampleGrid
from callbacks.summary import Summary

# Each acts on its own kinds of model and ignores the others.
DEFAULT_CALLBACKS = (
    LogInterval,
    FiniteLoss,
    Speed,
    Health,
    Curves,
    Dashboard,
    NetworkGraph,
    NetworkFigure,
    DataFigures,
    Evaluation,
    DecisionSurface,
    FunctionFit,
)

__all__ = [
    "DEFAULT_CALLBACKS",
    "Curves", "DataFigures", "DecisionSurface", "Evaluation", "FallbackSteps",
    "FiniteLoss", "FunctionFit", "Health", "LogInterval", "NetworkFigure", "NetworkGraph",
    "Progress", "Quality", "SampleGrid", "Speed", "Summary",
]  # fmt: skip
