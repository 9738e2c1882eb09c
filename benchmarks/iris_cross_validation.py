"""Cross-validates configs/iris.yaml beside linear discriminant analysis and an SVM.

    python benchmarks/iris_cross_validation.py [--repeats 10] [--config configs/iris.yaml]

Ten times five stratified folds; each network is trained by Lightning as `fit` would train it. The
config was chosen by cross-validation inside training folds alone.
"""

import argparse
import logging
import os
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import torch
import yaml
from lightning import Trainer, seed_everything
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.svm import SVC

from datamodules import Iris
from models import IrisMLP


def build(config: dict, **data: int) -> tuple[IrisMLP, Iris, Trainer]:
    """The model, data and trainer that a config file describes."""
    arguments = dict(config["model"]["init_args"])
    if "optimizer" in arguments:
        spec = arguments["optimizer"]
        optimizer = getattr(torch.optim, spec["class_path"])
        arguments["optimizer"] = lambda p: optimizer(p, **spec.get("init_args", {}))
    trainer = Trainer(
        **config["trainer"],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    return IrisMLP(**arguments), Iris(**config["data"]["init_args"], **data), trainer


def network_accuracy(config: dict, repeat: int, fold: int) -> float:
    """Trains on four folds and returns the accuracy on the fifth."""
    seed_everything(repeat * 5 + fold, verbose=False)
    model, data, trainer = build(config, fold=fold, fold_seed=repeat)
    trainer.fit(model, datamodule=data)
    (result,) = trainer.test(model, datamodule=data, verbose=False)
    return result["test/accuracy"]


def sklearn_accuracy(estimator: object, repeat: int, fold: int) -> float:
    """The accuracy of a scikit-learn classifier on the same, standardised, fold."""
    data = Iris(fold=fold, fold_seed=repeat)
    data.setup()
    assert data.splits is not None
    (train_x, train_y), _, (test_x, test_y) = (
        s and (s[0].numpy(), s[1].numpy()) for s in data.splits
    )
    return estimator.fit(train_x, train_y).score(test_x, test_y)  # type: ignore[attr-defined]


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
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)  # more only get in each other's way at this size
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    main()
