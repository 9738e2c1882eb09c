"""A small data set of images of any shape, for tests."""

import torch

from datamodules import ArrayDataModule, Split, Splits


class Stripes(ArrayDataModule):
    """Noisy stripes whose direction and color are their class; a small network learns them.

    Args:
        channels: Channels C of an image.
        height: Height H in pixels.
        width: Width W in pixels; None: the height.
        num_classes: Number of classes K.
        num_train: Training images; the classes take turns.
        num_eval: Images in each of the validation and test splits.
        noise: Standard deviation of Gaussian noise on pixels in 0..255.
        batch_size: Images per batch, summed over all processes.
        data_seed: Seed of phases and noise.
        mirrors: Value of the contract's `mirrors`.
    """

    def __init__(
        self,
        channels: int = 3,
        height: int = 16,
        width: int | None = None,
        num_classes: int = 4,
        num_train: int = 256,
        num_eval: int = 64,
        noise: float = 20.0,
        batch_size: int = 32,
        data_seed: int = 0,
        mirrors: bool = False,
    ) -> None:
        super().__init__(batch_size, scale=255.0)
        self.image_shape: tuple[int, int, int] = (channels, height, width or height)
        self.num_classes: int = num_classes
        self.class_names = tuple(f"stripe {k}" for k in range(num_classes))
        self.mirrors = mirrors
        self.sizes = (num_train, num_eval, num_eval)
        self.noise = noise
        self.data_seed = data_seed

    def load_splits(self) -> Splits:
        """Generates the images."""
        generator = torch.Generator().manual_seed(self.data_seed)
        return Splits(*(self._split(size, generator) for size in self.sizes))

    def _split(self, size: int, generator: torch.Generator) -> Split:
        """Images uint8 (N, C, H, W) and their classes (N,), the classes in turn."""
        channels, height, width = self.image_shape
        labels = torch.arange(size) % self.num_classes
        share = (labels / self.num_classes)[:, None, None]  # [0, 1), the same for all pixels
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        across = torch.cos(torch.pi * share) * x + torch.sin(torch.pi * share) * y
        phase = 2 * torch.pi * torch.rand(size, 1, 1, generator=generator)
        waves = torch.cos(1.2 * across + phase)[:, None]  # (N, 1, H, W)
        hue = torch.pi * (share[..., None] + torch.arange(channels)[:, None, None] / channels)
        pixels = 127.5 + 50 * waves + 60 * torch.cos(hue)  # (N, C, H, W)
        pixels += self.noise * torch.randn(pixels.shape, generator=generator)
        return Split(pixels.clamp(0, 255).to(torch.uint8), labels)
