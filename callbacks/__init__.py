"""What a run shows: progress, samples, curves, graphs."""

from callbacks.curves import Curves
from callbacks.graph import NetworkGraph
from callbacks.progress import Progress, Speed
from callbacks.samples import SampleGrid

DEFAULT_CALLBACKS = (Speed, Curves, NetworkGraph)

__all__ = ["DEFAULT_CALLBACKS", "Curves", "NetworkGraph", "Progress", "SampleGrid", "Speed"]
