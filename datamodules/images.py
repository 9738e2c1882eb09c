"""MNIST and other public data sets of small images."""

from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from datamodules.base import ArrayDataModule, Splits, cut_validation
from datamodules.digits import load_digits
from datamodules.sources import (
    DATASETS,
    IMAGE_SHAPE,
    download,
    find_dataset,
    load_dataset,
    searched_folders,
)
from runtime.errors import UserError
from runtime.ranges import Fraction, Positive, PositiveFloat, Seed

ImageDataset = Literal[
    "auto", "mnist", "fashion", "digits", "kmnist", "cifar10", "cifar100", "svhn"
]
JUDGED = ("mnist", "fashion", "digits")  # have a judge
DEFAULT_FOLDER = "data"


class Images(ArrayDataModule):
    """Images (B, C, H, W), float32 in `[0, 255 / scale]`, and labels (B,), int64.

    The files are searched where torchvision has them in `data_dir`, such as `MNIST/raw` (unpacked
    first, then `.gz`), and in the folder of a system package. If they are in neither, torchvision
    downloads them.

    Args:
        dataset: The data set. `auto` is `mnist` if it is found or can be downloaded, and otherwise,
            with the default `data_dir`, `digits`: scikit-learn's embedded 8 x 8 digits, redrawn in
            MNIST's frame. The hyperparameter `dataset_found` says which. CIFAR and SVHN are
            3 x 32 x 32, the others 1 x 28 x 28.
        data_dir: The folder that contains `MNIST/raw`, `cifar-10-batches-py`, `train_32x32.mat` and
            so on. Only the default is created if it does not exist.
        batch_size: Images per batch, summed over all processes.
        val_fraction: Fraction of the training images for the validation split; 1/12 is 5,000
            of MNIST's 60,000.
        split_seed: Decides which images are cut, independently of the run's seed.
        scale: Divisor of the pixels 0..255.
    """

    image_shape = IMAGE_SHAPE
    num_classes: int | None = 10
    random_order = True
    not_in_identity = ArrayDataModule.not_in_identity | {"dataset_found"}

    def __init__(
        self,
        dataset: ImageDataset = "auto",
        data_dir: str = DEFAULT_FOLDER,
        batch_size: Positive = 128,
        val_fraction: Fraction = 1 / 12,
        split_seed: Seed = 0,
        scale: PositiveFloat = 255.0,
    ) -> None:
        super().__init__(batch_size, scale)
        self.dataset, self.data_dir = dataset, data_dir
        self.val_fraction, self.split_seed = val_fraction, split_seed
        self.dataset_found: str | None = None
        self._describe(dataset)
        self._download_error = "not tried"

    @property
    def _folder_is_default(self) -> bool:
        return Path(self.data_dir) == Path(DEFAULT_FOLDER)

    @property
    def _folder_is_missing(self) -> bool:
        """Returns whether the user named a folder that does not exist, perhaps by a mistake."""
        return not self._folder_is_default and not Path(self.data_dir).expanduser().is_dir()

    def prepare_data(self) -> None:
        """Downloads the data set if this machine lacks it; `setup` reports a failure."""
        key = "mnist" if self.dataset == "auto" else self.dataset
        if not (self.may_download or self._folder_is_default):
            return
        if key not in DATASETS or self._folder_is_missing or find_dataset(key, self.data_dir):
            return
        self._download_error = download(key, self.data_dir)

    def load_splits(self) -> Splits:
        key = self._choose() if self.dataset == "auto" else self.dataset
        if key == "digits":
            train, test = load_digits()
        elif self._folder_is_missing:
            spec = DATASETS[key]
            raise UserError(
                f"there is no folder {self.data_dir}: set --data.data_dir to the folder that holds "
                f"{Path(spec.folder, spec.files[0])}, or create it to download {spec.name} into it"
            )
        else:
            train, test = load_dataset(key, self.data_dir, self._download_error)
        self.dataset_found = key
        self._describe(key)
        self.save_hyperparameters({"dataset_found": key})
        return Splits(*cut_validation(train, self.val_fraction, self.split_seed), test)

    def _choose(self) -> str:
        """Returns the data set that `auto` means here."""
        if not self._folder_is_default:
            return "mnist"
        key = "mnist" if find_dataset("mnist", self.data_dir) else "digits"
        if self.trainer is not None:  # One node may lack the files.
            key = self.trainer.strategy.broadcast(key)
        self.used_fallback = key == "digits"
        if self.used_fallback:
            rank_zero_warn(
                "MNIST WAS NOT FOUND: THIS RUN USES SCIKIT-LEARN'S 1,797 SMALL DIGITS INSTEAD. "
                f"It is not in {searched_folders('mnist', self.data_dir)[0]}; download "
                f"({self._download_error}). For MNIST, set --data.data_dir to the folder that "
                "holds MNIST/raw, or go online; --data.dataset mnist makes this an error, "
                "--data.dataset digits silences it."
            )
        return key

    def _describe(self, key: str) -> None:
        self.judge = key if key in JUDGED else None
        if spec := DATASETS.get(key):
            self.image_shape, self.num_classes = (
                spec.image_shape,
                len(spec.class_names or range(10)),
            )
            self.class_names, self.mirrors = spec.class_names, spec.mirrors

    def identity(self) -> dict[str, Any]:
        return super().identity() | {"dataset": self.dataset_found}
