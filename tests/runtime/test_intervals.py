"""Intervals hold what they promise."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from runtime.intervals import few, interval_of_mean, wilson_interval


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (8, 10), (77, 95), (9925, 10_000)])
def test_the_interval_is_wilsons(hits, count):
    expected = binomtest(hits, count).proportion_ci(method="wilson")
    found = wilson_interval(hits / count, count)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-7)


def test_the_interval_of_a_mean_is_of_the_deviations_of_the_classes():
    """A class with few examples makes it wide; one with none is left out."""
    hits, counts = np.array([40, 900, 0]), np.array([80, 1000, 0])
    low, high = interval_of_mean(hits, counts)
    p, n = hits[:2] / counts[:2], counts[:2]
    deviation = math.sqrt((p * (1 - p) / n).sum()) / 2
    assert (low + high) / 2 == pytest.approx(p.mean(), abs=0.005)
    assert (high - low) / 2 == pytest.approx(1.96 * deviation, rel=0.05)
    assert interval_of_mean(hits, counts) == (low, high)  # a fixed seed


def test_a_mean_without_mistakes_has_the_interval_of_its_examples():
    assert interval_of_mean(np.array([4, 6]), np.array([4, 6])) == wilson_interval(1.0, 10)


def test_nothing_has_no_interval():
    assert all(map(math.isnan, wilson_interval(math.nan, 0)))


@pytest.mark.parametrize(("count", "lines"), [(99, 1), (100, 0)])
def test_few_examples_are_said(count, lines):
    assert len(few(count)) == lines
