"""Quality scores of generated samples, from the features and classes of a frozen judge."""

from metrics.frechet import (
    Gaussian,
    GaussianMoments,
    fit_gaussian,
    frechet_by_class,
    frechet_distance,
)
from metrics.images import ImageBank, LabelledImages
from metrics.kid import KernelDistance, KernelMoments, kernel_distance
from metrics.labels import ModeCounts, label_accuracy, mode_coverage, stacked_modes
from metrics.manifold import FeatureBank, manifold_scores
from metrics.memorization import memorization_floor, memorization_ratio
from metrics.quality import GeneratorQuality, SampleSet
from metrics.report import QualityReport
from metrics.score import Score, Sets, Setting
from metrics.scores import SCORES
from metrics.statistic import Statistic

__all__ = [
    "SCORES",
    "FeatureBank",
    "Gaussian",
    "GaussianMoments",
    "GeneratorQuality",
    "ImageBank",
    "KernelDistance",
    "KernelMoments",
    "LabelledImages",
    "ModeCounts",
    "QualityReport",
    "SampleSet",
    "Score",
    "Sets",
    "Setting",
    "Statistic",
    "fit_gaussian",
    "frechet_by_class",
    "frechet_distance",
    "kernel_distance",
    "label_accuracy",
    "manifold_scores",
    "memorization_floor",
    "memorization_ratio",
    "mode_coverage",
    "stacked_modes",
]
