"""Cross-validates configs/iris.yaml beside linear discriminant analysis and an SVM.

    python -m examples.iris_cross_validation [--repeats 10] [--config configs/iris.yaml]

Ten times five stratified folds. Lightning trains each network like `fit`. The config was chosen by
cross-validation inside training folds alone.
"""

import argparse
import logging
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from lightning import Trainer, seed_everything
from lightning.pytorch.cli import instantiate_module
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC

from datamodules import Iris
from models import IrisMLP


class IrisFold(Iris):
    """Tests on one of five stratified parts of the flowers; each repeat has other parts."""

    def __init__(self, repeat: int, fold: int, **iris: Any) -> None:
        super().__init__(**iris)
        self.repeat, self.fold = repeat, fold

    def rows(self, targets: np.ndarray) -> list[np.ndarray]:
        splitter = StratifiedKFold(5, shuffle=True, random_state=self.repeat)
        return list(splitter.split(targets, targets))[self.fold]


def network_accuracy(config: dict[str, Any], repeat: int, fold: int) -> float:
    """Trains on four folds and returns the accuracy on the fifth."""
    seed_everything(repeat * 5 + fold, verbose=False)
    quiet = dict.fromkeys(["logger", "enable_checkpointing", "enable_progress_bar"], False)
    trainer = Trainer(accelerator="cpu", enable_model_summary=False, **quiet, **config["trainer"])
    model = instantiate_module(IrisMLP, config["model"]["init_args"])
    data = IrisFold(repeat, fold, **config["data"]["init_args"])
    trainer.fit(model, datamodule=data)
    (result,) = trainer.test(model, datamodule=data, verbose=False)
    return result["test/accuracy"]


def sklearn_accuracy(estimator: Any, repeat: int, fold: int) -> float:
    """Returns the accuracy of a scikit-learn classifier on the same, standardized, fold."""
    data = IrisFold(repeat, fold)
    data.setup()
    assert data.splits is not None
    train, test = ([part.numpy() for part in split] for split in (data.splits[0], data.splits[2]))
    return estimator.fit(*train).score(*test)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--config", type=Path, default=Path("configs/iris.yaml"))
    args = parser.parse_args()
    config = yaml.safe_load(args.config.read_text())
    methods = {
        f"IrisMLP, {args.config}": lambda r, f: network_accuracy(config, r, f),
        "scikit-learn LDA": lambda r, f: sklearn_accuracy(LinearDiscriminantAnalysis(), r, f),
        "scikit-learn SVM (RBF, C=1)": lambda r, f: sklearn_accuracy(SVC(), r, f),
    }
    print(f"Iris, {args.repeats} x stratified 5-fold cross-validation: accuracy in %")
    print("mean, its standard deviation over the repeats, and the worst and best repeat")
    for name, accuracy in methods.items():
        start = time.perf_counter()
        means = [100 * np.mean([accuracy(r, f) for f in range(5)]) for r in range(args.repeats)]
        print(
            f"{name:30} {np.mean(means):6.2f} +- {np.std(means, ddof=min(1, args.repeats - 1)):.2f}"
            f"  {min(means):.2f} .. {max(means):.2f}  ({time.perf_counter() - start:.0f} s)",
            flush=True,
        )


if __name__ == "__main__":
    torch.set_num_threads(1)  # the fastest for so small a network
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    main()
