"""Fisher's iris flowers: 150 flowers, four lengths in cm, three species."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from datamodules.base import ArrayDataModule, Split, Splits, cut_validation
from runtime.ranges import Fraction, Positive, Seed

if TYPE_CHECKING:
    from pandas import DataFrame


class Iris(ArrayDataModule):
    """Measurements (B, 4), float32, and species (B,), int64 in 0..2.

    The test split is the lecture's: 30 flowers, `train_test_split(train_size=0.8, random_state=0)`.

    Args:
        batch_size: Flowers per batch, summed over all processes.
        standardize: Subtract the mean and divide by the standard deviation of each measurement,
            both computed on the training split alone. Otherwise, inputs are in cm.
        val_fraction: Fraction of the training flowers for the validation split.
        split_seed: Decides which flowers are cut, independently of the run's seed.
    """

    input_shape = (4,)
    num_classes = 3
    feature_names = ("sepal_length", "sepal_width", "petal_length", "petal_width")
    class_names = ("setosa", "versicolor", "virginica")
    unit = "cm"

    def __init__(
        self,
        batch_size: Positive = 16,
        standardize: bool = True,
        val_fraction: Fraction = 0.0,
        split_seed: Seed = 0,
    ) -> None:
        super().__init__(batch_size)
        self.standardize = standardize
        self.val_fraction, self.split_seed = val_fraction, split_seed
        self._mean, self._std = torch.zeros(4), torch.ones(4)

    def load_splits(self) -> Splits:
        from sklearn.datasets import load_iris

        inputs, targets = load_iris(return_X_y=True)
        whole = Split(torch.from_numpy(inputs).float(), torch.from_numpy(targets).long())
        train, test = (whole.take(torch.from_numpy(rows)) for rows in self.rows(targets))
        train, val = cut_validation(train, self.val_fraction, self.split_seed)
        if not self.standardize:
            return Splits(train, val, test)
        self._std, self._mean = torch.std_mean(train.inputs, dim=0, correction=0)
        for split in (train, val, test):
            if split is not None:
                split.inputs.sub_(self._mean).div_(self._std)
        return Splits(train, val, test)

    def rows(self, targets: np.ndarray) -> list[np.ndarray]:
        """Returns the rows of the training and of the test flowers, which have these species."""
        from sklearn.model_selection import train_test_split

        return train_test_split(np.arange(len(targets)), train_size=0.8, random_state=0)

    def in_units(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns measurements (N, 4) in cm, rounded to 0.001 cm."""
        return (inputs.cpu() * self._std + self._mean).round(decimals=3)

    def table(self) -> "DataFrame":
        """Returns all flowers in cm, in the data set's order; the last column is the species."""
        from sklearn.datasets import load_iris

        iris = load_iris(as_frame=True)
        species = [self.class_names[k] for k in iris.target]
        return iris.data.set_axis(list(self.feature_names), axis=1).assign(species=species)
