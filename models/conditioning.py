"""Ways to tell a generator the class: as more inputs, or through its batch norms.

Its input is a tensor (B, latent_dim + num_classes): latents, then the weight of each class. A class
has weight 1 and the others 0; a mixture of classes, which `sample --between` draws, several.
"""

from typing import Literal

import torch
from torch import Tensor, nn

Conditioning = Literal["one_hot", "embedding", "batch_norm"]


class EmbeddedClass(nn.Module):
    """A generator whose class becomes a learned vector beside the latents.

    Args:
        generator: From (B, latent_dim + embedding_dim) to images.
        num_classes: Number of classes.
        embedding_dim: Size of the vector.
    """

    def __init__(self, generator: nn.Module, num_classes: int, embedding_dim: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.generator = generator
        self.embedding = nn.Linear(num_classes, embedding_dim, bias=False)
        nn.init.normal_(self.embedding.weight)  # as the latents are

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, latent_dim + num_classes) -> images (B, C, H, W)."""
        latents, classes = split(inputs, self.num_classes)
        return self.generator(torch.cat([latents, self.embedding(classes)], dim=1))


class ConditionalBatchNorm2d(nn.Module):
    """Batch norm whose scale and shift depend on the class (de Vries et al. 2017).

    Args:
        channels: Number of channels.
        num_classes: Number of classes.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.normalize = nn.BatchNorm2d(channels, affine=False)
        self.scale = nn.Linear(num_classes, channels, bias=False)
        self.shift = nn.Linear(num_classes, channels, bias=False)
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, features: Tensor, classes: Tensor) -> Tensor:
        """Features (B, C, H, W), weights of classes (B, num_classes) -> (B, C, H, W)."""
        scale, shift = (layer(classes)[:, :, None, None] for layer in (self.scale, self.shift))
        return self.normalize(features) * scale + shift


def split(inputs: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Splits a generator's input into latents (B, latent_dim) and classes (B, num_classes)."""
    return inputs[:, :-num_classes], inputs[:, -num_classes:]
