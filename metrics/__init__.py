"""Quality scores of generated samples, from the features and classes of a frozen judge."""

from metrics.bank import LabelledImages
from metrics.quality import GeneratorQuality, QualityReport, SampleSet
from metrics.score import Score, Sets, Setting
from metrics.scores import SCORES
from metrics.statistic import Statistic

__all__ = [
    "SCORES",
    "GeneratorQuality",
    "LabelledImages",
    "QualityReport",
    "SampleSet",
    "Score",
    "Sets",
    "Setting",
    "Statistic",
]
