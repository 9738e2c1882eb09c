"""Stacked MNIST: three gray images as the color channels of one, so there are 1,000 modes."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from datamodules.base import Split, Splits
from datamodules.images import Images
from datamodules.sources import IMAGE_SHAPE
from runtime.ranges import Count, Fraction, Positive, PositiveFloat, Seed

CHANNELS = 3
MODES = 10**CHANNELS
NUM_EVAL = 10 * MODES  # stacks in each of the validation and test splits


class StackedImages(Images):
    """Stacks of three images of `Images`, and their modes (B,), int64 in 0..999.

    A stack is an image (3, H, W), float32 in `[0, 255 / scale]`. Mode 100 a + 10 b + c has an image
    of class a in red, b in green and c in blue. The task is to cover all modes without knowing
    them (Metz et al. 2017; Lin et al. 2018, PacGAN), so models see no classes. The stacks of a
    split contain images of that split alone. They depend on `split_seed`, not on the run's seed.

    The modes of training stacks are independent and uniform, as those of a perfect generator are.
    The 10,000 validation and the 10,000 test stacks have each mode equally often.

    Args:
        dataset: See `Images`, as for all arguments up to `scale`.
        data_dir: The folder that contains `MNIST/raw` and so on.
        batch_size: Stacks per batch, summed over all processes.
        val_fraction: Fraction of the training images, of which validation stacks are made.
        split_seed: Decides which images are cut, and which images make a stack.
        scale: Divisor of the pixels 0..255.
        num_train: Training stacks, 2,352 bytes each. The first ones are the same for any number.
    """

    image_shape = (CHANNELS, *IMAGE_SHAPE[1:])
    num_classes = None
    channel_judge: str | None = None  # the judge of one channel; known after `setup`

    def __init__(
        self,
        dataset: Literal["auto", "mnist", "fashion", "digits", "kmnist"] = "auto",
        data_dir: str = "data",
        batch_size: Positive = 128,
        val_fraction: Fraction = 1 / 12,
        split_seed: Seed = 0,
        scale: PositiveFloat = 255.0,
        num_train: Count = 60_000,
    ) -> None:
        super().__init__(dataset, data_dir, batch_size, val_fraction, split_seed, scale)
        self.num_train = num_train

    def load_splits(self) -> Splits:
        train, val, test = super().load_splits()
        seed = self.split_seed
        return Splits(
            make_stacks(train, self.num_train, (seed, 0)),
            None if val is None else make_stacks(val, NUM_EVAL, (seed, 1), balanced=True),
            make_stacks(test, NUM_EVAL, (seed, 2), balanced=True),
        )

    def _describe(self, key: str) -> None:
        super()._describe(key)
        # Both are of a channel. No judge knows a stack, so the product's scores do not apply.
        self.channel_judge, self.judge, self.class_names = self.judge, None, None
        self.image_shape, self.num_classes = (CHANNELS, *IMAGE_SHAPE[1:]), None


def make_stacks(images: Split, count: int, seed: Sequence[int], balanced: bool = False) -> Split:
    """Makes stacks uint8 (N, 3, H, W) of images (M, 1, H, W), with their modes (N,).

    Stack i depends on the seed and on i alone. Each of its channels is an image of the class that
    the mode names, and all images of a class are equally likely.

    Args:
        images: Images of ten classes.
        count: The number of stacks N, a multiple of 1,000 if balanced.
        seed: Seed of NumPy's generator.
        balanced: Each 1,000 stacks have all modes, in a random order. Otherwise modes are drawn
            independently.
    """
    draws = torch.from_numpy(np.random.default_rng(seed).random((count, 1 + CHANNELS)))
    order, choice = draws[:, 0], draws[:, 1:]  # in [0, 1)
    modes = order.view(-1, MODES).argsort().flatten() if balanced else (order * MODES).long()
    classes = modes[:, None] // torch.tensor([100, 10, 1]) % 10  # (N, 3)
    by_class, sizes = images.targets.argsort(stable=True), images.targets.bincount(minlength=10)
    first = sizes.cumsum(0) - sizes  # place in `by_class` of each class's first image
    rows = by_class[first[classes] + (choice * sizes[classes]).long()]  # (N, 3)
    return Split(images.inputs[rows].flatten(1, 2), modes)
