"""The cross-validation of the iris network beside scikit-learn's classifiers."""

import numpy as np
import yaml
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from examples.iris_cross_validation import IrisFold, network_accuracy, sklearn_accuracy
from tests.conftest import ROOT


def test_one_fold_of_each_method_is_scored_on_the_same_flowers():
    config = yaml.safe_load((ROOT / "configs/iris.yaml").read_text())
    config["trainer"]["max_epochs"] = 10
    assert network_accuracy(config, repeat=0, fold=0) > 0.8
    # of 30 flowers, so that the share is a number of thirtieths
    share = sklearn_accuracy(LinearDiscriminantAnalysis(), repeat=0, fold=0)
    assert share > 0.9
    assert abs(share * 30 - round(share * 30)) < 1e-9


def test_folds_partition_the_flowers_by_species():
    species = np.repeat(range(3), 50)
    tested = [IrisFold(0, fold).rows(species)[1] for fold in range(5)]
    assert all(np.bincount(species[rows]).tolist() == [10, 10, 10] for rows in tested)
    assert sorted(np.concatenate(tested)) == list(range(150))
    assert not np.array_equal(IrisFold(1, 0).rows(species)[1], tested[0])
