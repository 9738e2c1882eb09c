"""The base of every data set here: all of it in memory, on the training device."""

import os
from typing import Any, NamedTuple, cast

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor

from datamodules.loader import BatchLoader


class Split(NamedTuple):
    """Inputs (N, ...) and targets (N, ...) of one part of a data set."""

    inputs: Tensor
    targets: Tensor

    def take(self, rows: Tensor) -> "Split":
        """The examples at ``rows``, int64 (M,)."""
        return Split(self.inputs[rows], self.targets[rows])


class Splits(NamedTuple):
    """The three parts of a data set; ``val`` is None where none was asked for."""

    train: Split
    val: Split | None
    test: Split


def cut_validation(train: Split, fraction: float, seed: int) -> tuple[Split, Split | None]:
    """Cut a validation split from the training split, stratified by class.

    Args:
        train: What to cut from; targets are int64 classes (N,).
        fraction: The share of examples to cut, in [0, 1); 0 cuts nothing.
        seed: Decides which examples are cut; independent of the run's own seed.

    Returns:
        The two parts, each in its original order; None in place of an empty validation split.

    Raises:
        MisconfigurationException: If the fraction leaves a class without examples.
    """
    if fraction == 0:
        return train, None
    n, size = len(train.targets), round(len(train.targets) * fraction)
    num_classes = len(train.targets.unique())
    if not num_classes <= size <= n - num_classes:
        raise MisconfigurationException(
            f"val_fraction {fraction} of {n} examples does not leave each of the {num_classes} "
            "classes an example on both sides: set --data.val_fraction to 0 or nearer to 0.1"
        )
    from sklearn.model_selection import train_test_split

    kept, cut = train_test_split(
        range(n), test_size=size, random_state=seed, stratify=train.targets.numpy()
    )
    return train.take(torch.tensor(sorted(kept))), train.take(torch.tensor(sorted(cut)))


class InMemoryDataModule(LightningDataModule):
    """Holds the splits as tensors and hands out :class:`BatchLoader` s over them.

    A subclass says in :meth:`load_splits` what the examples are and in :meth:`identity` what
    decides them. Batches are ``(inputs, targets)``; uint8 inputs stay uint8 on the device and
    become float32, divided by ``scale``, only batch by batch.

    Args:
        batch_size: Examples in a batch over all processes together.
        scale: uint8 inputs are divided by this; float inputs are left as they are.
    """

    def __init__(self, batch_size: int, scale: float = 1.0) -> None:
        super().__init__()
        if scale <= 0:
            raise MisconfigurationException(f"scale is {scale}: set --data.scale above 0")
        self.save_hyperparameters()  # those of the subclass as well
        self.batch_size = batch_size
        self.scale = scale
        self.splits: Splits | None = None
        self._placed: dict[tuple[str, torch.device], Split] = {}
        self._resumed_seed: int | None = None

    def load_splits(self) -> Splits:
        """Read or make the examples, on the CPU. Called once."""
        raise NotImplementedError

    def identity(self) -> dict[str, Any]:
        """What decides the examples and their splits, as plain values by argument name."""
        raise NotImplementedError

    @property
    def seed(self) -> int:
        """Seed of the training order: the checkpoint's, or that of ``seed_everything``, or 0."""
        if self._resumed_seed is not None:
            return self._resumed_seed
        return int(os.environ.get("PL_GLOBAL_SEED", 0))

    def setup(self, stage: str | None = None) -> None:
        """Load the splits unless they are loaded."""
        if self.splits is None:
            self.splits = self.load_splits()

    def train_dataloader(self) -> BatchLoader:
        """Shuffled whole batches (in a fixed order under ``overfit_batches``)."""
        return self._loader("train", shuffle=not getattr(self.trainer, "overfit_batches", 0))

    def val_dataloader(self) -> BatchLoader | list[BatchLoader]:
        """The validation split in order; an empty list where there is none."""
        self.setup()
        assert self.splits is not None
        return [] if self.splits.val is None else self._loader("val")

    def test_dataloader(self) -> BatchLoader:
        """The test split in order."""
        return self._loader("test")

    def predict_dataloader(self) -> BatchLoader:
        """The test split in order."""
        return self._loader("test")

    def _loader(self, name: str, shuffle: bool = False) -> BatchLoader:
        trainer = self.trainer
        device = trainer.strategy.root_device if trainer else torch.device("cpu")
        rank, world_size = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        split = self._place(name, device)
        return BatchLoader(
            tuple(split),
            self.batch_size,
            rank,
            world_size,
            shuffle=shuffle,
            seed=self.seed,
            current_epoch=(lambda: trainer.current_epoch) if trainer else None,
        )

    def _place(self, name: str, device: torch.device) -> Split:
        self.setup()
        if (name, device) not in self._placed:
            split = getattr(self.splits, name)
            self._placed[name, device] = Split(*(tensor.to(device) for tensor in split))
        return self._placed[name, device]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Turn uint8 inputs into float32, divided by ``scale``."""
        # Lightning passes a model's `example_input_array` through here as well
        if isinstance(batch, list | tuple) and batch[0].dtype == torch.uint8:
            model = self.trainer.lightning_module if self.trainer else None
            dtype = torch.float32 if model is None else cast(torch.dtype, model.dtype)
            return batch[0].to(dtype) / self.scale, *batch[1:]
        return batch

    def state_dict(self) -> dict[str, Any]:
        """What the run is trained on, and the seed of its order."""
        return {"identity": self.identity(), "seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the checkpoint's order of data; refuse to go on training on other data.

        Raises:
            MisconfigurationException: If training resumes on other examples or another split.
        """
        if self.trainer is not None and self.trainer.state.fn != TrainerFn.FITTING:
            return  # a trained model may be tested on any data
        self._resumed_seed = state_dict["seed"]
        if self.trainer is None:
            return
        here = self.identity()
        for key, value in state_dict["identity"].items():
            if here.get(key) != value:
                raise MisconfigurationException(
                    f"the checkpoint was trained with data.{key} {value!r}, this run has "
                    f"{here.get(key)!r}: resume with --data.{key} {value}, or leave out --ckpt_path"
                )
