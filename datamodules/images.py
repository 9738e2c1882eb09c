"""MNIST and its relatives: 28 x 28 grey images of ten classes."""

from typing import Any, Literal, get_args

from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from datamodules.base import InMemoryDataModule, Splits, cut_validation
from datamodules.download import download
from datamodules.sources import DATASETS, find_files, load_digits, load_idx_dataset

ImageDataset = Literal["auto", "mnist", "fashion", "kmnist", "qmnist", "emnist-digits", "digits"]


class Images(InMemoryDataModule):
    """Images (B, 1, 28, 28), float32 in ``[0, 255 / scale]``, and labels (B,), int64 in 0..9.

    The files are looked for in ``<data_dir>/<Name>/raw`` (unpacked, then ``.gz``), in the folder a
    system package installs, and are downloaded if they are in neither.

    Args:
        dataset: The data set. ``auto`` is ``mnist`` where it is found or can be downloaded, and
            ``digits``, scikit-learn's embedded 8 x 8 digits resized to 28 x 28, where not; the
            hyperparameter ``dataset_found`` says which.
        data_dir: The folder that holds ``MNIST/raw``, ``FashionMNIST/raw`` and so on.
        batch_size: Images in a batch over all processes together.
        val_fraction: Share of the training images cut off as validation split; 1/12 is 5,000 of
            MNIST's 60,000.
        split_seed: Decides which images are cut, whatever the seed of the run.
        scale: Pixels 0..255 are divided by this.
    """

    num_classes = 10

    def __init__(
        self,
        dataset: ImageDataset = "auto",
        data_dir: str = "data",
        batch_size: int = 128,
        val_fraction: float = 1 / 12,
        split_seed: int = 0,
        scale: float = 255.0,
    ) -> None:
        super().__init__(batch_size, scale)
        if dataset not in get_args(ImageDataset):
            raise MisconfigurationException(
                f"there is no data set {dataset!r}: set --data.dataset to one of "
                f"{', '.join(get_args(ImageDataset))}"
            )
        self.dataset = dataset
        self.data_dir = data_dir
        self.val_fraction = val_fraction
        self.split_seed = split_seed
        self.dataset_found: str | None = None
        self._download_error = "not tried"

    def prepare_data(self) -> None:
        """Download the data set if this machine lacks it; a failure is reported by ``setup``."""
        key = "mnist" if self.dataset == "auto" else self.dataset
        if key in DATASETS and not find_files(key, self.data_dir)[0]:
            self._download_error = download(key, self.data_dir)

    def load_splits(self) -> Splits:
        """Load, check and cut; see :func:`~datamodules.sources.load_idx_dataset` for errors."""
        key = self._choose() if self.dataset == "auto" else self.dataset
        if key == "digits":
            train, test = load_digits()
        else:
            train, test = load_idx_dataset(key, self.data_dir, self._download_error)
        self.dataset_found = key
        self.save_hyperparameters({"dataset_found": key})
        return Splits(*cut_validation(train, self.val_fraction, self.split_seed), test)

    def _choose(self) -> str:
        files, tried = find_files("mnist", self.data_dir)
        key = "mnist" if files else "digits"
        if self.trainer is not None:  # one node may have the files and another not
            key = self.trainer.strategy.broadcast(key)
        if key == "digits":
            rank_zero_warn(
                "MNIST WAS NOT FOUND: THIS RUN USES SCIKIT-LEARN'S 1,797 SMALL DIGITS INSTEAD. "
                f"Tried {'; '.join(tried)}; download ({self._download_error}). For MNIST, set "
                "--data.data_dir to the folder that holds MNIST/raw, or go online; "
                "--data.dataset mnist makes this an error, --data.dataset digits silences it."
            )
        return key

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """What the classes show, where it is not digits."""
        found = DATASETS.get(self.dataset_found or self.dataset)
        return found.class_names if found else None

    @property
    def mirrors(self) -> bool:
        """Whether mirroring an image left to right makes another good one: clothes, not digits."""
        found = DATASETS.get(self.dataset_found or self.dataset)
        return found is not None and found.mirrors

    def identity(self) -> dict[str, Any]:
        """The data set found and how it is split."""
        return {
            "dataset": self.dataset_found,
            "val_fraction": self.val_fraction,
            "split_seed": self.split_seed,
        }
