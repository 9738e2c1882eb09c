"""The cross-validation of the iris network beside scikit-learn's classifiers."""

import yaml
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from examples.iris_cross_validation import network_accuracy, sklearn_accuracy
from tests.conftest import ROOT


def test_one_fold_of_each_method_is_scored_on_the_same_flowers() -> None:
    config = yaml.safe_load((ROOT / "configs/iris.yaml").read_text())
    config["trainer"]["max_epochs"] = 10
    assert network_accuracy(config, repeat=0, fold=0) > 0.8
    # of 30 flowers, so that the share is a number of thirtieths
    share = sklearn_accuracy(LinearDiscriminantAnalysis(), repeat=0, fold=0)
    assert share > 0.9
    assert abs(share * 30 - round(share * 30)) < 1e-9
