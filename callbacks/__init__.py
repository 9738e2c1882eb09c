"""Lightning callbacks: what a run shows and records.

Lightning calls all of them at each hook of each step. So there is one for each subject, and a run
has only those of its kind of model, at most eight with those of `runtime/`.
"""

from callbacks.checkpointing import EpochCheckpoint
from callbacks.evaluation import Evaluation
from callbacks.fallback import FallbackSteps
from callbacks.figures import Figures
from callbacks.monitor import StepMonitor
from callbacks.progress import Progress
from callbacks.quality import Quality
from callbacks.samples import SampleGrid

DEFAULT_CALLBACKS = (StepMonitor, Figures)  # of every run

__all__ = [
    "DEFAULT_CALLBACKS",
    "EpochCheckpoint", "Evaluation", "FallbackSteps", "Figures", "Progress", "Quality",
    "SampleGrid", "StepMonitor",
]  # fmt: skip
