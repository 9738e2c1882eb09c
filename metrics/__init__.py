"""How good generated samples are: statistics of a judge's features and classes."""

from metrics.frechet import (
    Gaussian,
    GaussianMoments,
    fit_gaussian,
    frechet_by_class,
    frechet_distance,
)
from metrics.kid import KernelDistance, KernelMoments, kernel_distance
from metrics.labels import ModeCounts, label_accuracy, mode_coverage, stacked_modes
from metrics.manifold import FeatureBank, manifold_scores
from metrics.memorization import memorization_floor, memorization_ratio
from metrics.quality import GeneratorQuality, SampleSet
from metrics.report import QualityReport

__all__ = [
    "FeatureBank",
    "Gaussian",
    "GaussianMoments",
    "GeneratorQuality",
    "KernelDistance",
    "KernelMoments",
    "ModeCounts",
    "QualityReport",
    "SampleSet",
    "fit_gaussian",
    "frechet_by_class",
    "frechet_distance",
    "kernel_distance",
    "label_accuracy",
    "manifold_scores",
    "memorization_ratio",
    "memorization_floor",
    "mode_coverage",
    "stacked_modes",
]
