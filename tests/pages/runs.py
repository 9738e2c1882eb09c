"""Tiny models and runs of them, for tests of the page."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from datamodules import Images
from datamodules.input_spec import InputSpec
from models import (
    GAN,
    ConditionalGAN,
    Drift,
    Flow,
    ImageClassifier,
    SelfConditionedGAN,
    VariationalAutoencoder,
)
from models.gan.networks import ModernGenerator
from models.networks import ConvNet, FeedForward, ResidualConvNet
from models.training import EMAOptions
from models.unet import UNet
from results import Run
from tests.models.gans import SHAPE, small

HIDDEN = partial(ModernGenerator, width=2, hidden=[6, 5], skip=True, transposed=True)
DETAIL = partial(ModernGenerator, width=2, detail=3)
LOOK = {"background": 0.0, "extent": 20 / 28, "centre": (0.5, 0.5)}  # of MNIST's images


class Same(nn.Module):
    """Calls a function."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, values: Any) -> Any:
        return self.function(values)


def own(input_dim: int, shape: tuple[int, ...]) -> nn.Module:
    """A generator of layers that the project's own do not use, for 8 x 8 images."""
    return nn.Sequential(
        nn.Linear(input_dim, 3 * 7 * 5), nn.SiLU(), nn.Dropout(0.5), nn.Unflatten(1, (3, 7, 5)),
        nn.BatchNorm2d(3, affine=False), nn.LeakyReLU(0.3), nn.Conv2d(3, 4, (3, 2), (2, 1), (1, 0)),
        nn.GELU(), nn.GroupNorm(2, 4), nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2),
        nn.ConvTranspose2d(4, 1, 3, stride=2, padding=1, output_padding=(1, 1), bias=False),
        nn.Flatten(), nn.BatchNorm1d(64), nn.LayerNorm(64), nn.ELU(), nn.Linear(64, 64), nn.Tanh(),
        nn.Unflatten(1, shape),
    )  # fmt: skip


def attend(x: Tensor) -> Tensor:
    """Features (B, C, H, W) -> (B, H * W - 1, C + 2), with operators of attention."""
    x = torch.cat(x.chunk(2, 1), 1).flatten(2).transpose(1, 2)[:, 1:]
    x = torch.cat([x.softmax(1), x.mean(2, keepdim=True), x.amax(2, keepdim=True)], -1)
    x = x + 0.1 * torch.div(x, 0.3, rounding_mode="floor")
    return torch.where(x > 0.3, x.exp(), -x.abs().sqrt()) + (x @ x.transpose(1, 2)).sum(2, True)


def pooled(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """A classifier of more layers that the project's own do not use, for 3 x 12 x 9 images."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.InstanceNorm2d(4), nn.Softplus(),
        nn.Upsample(scale_factor=2), nn.AvgPool2d(3, 2, padding=1), nn.Mish(),
        nn.ZeroPad2d((1, 2, 0, 1)),
        nn.MaxPool2d(3, 2, ceil_mode=True), nn.Hardtanh(), nn.PixelUnshuffle(1),
        nn.MaxPool2d(2, 1, dilation=2),
        nn.AdaptiveAvgPool2d((3, 2)),
        Same(attend),
        nn.Flatten(), nn.Linear(30, outputs), nn.GELU(approximate="tanh"),
    )  # fmt: skip


classifier = partial(ImageClassifier, SHAPE, 10)
MODELS: dict[str, Any] = {
    "colors": partial(small, GAN, image_shape=(3, 16, 20), average=EMAOptions(0.9)),
    "conditional": partial(small, ConditionalGAN, generator=HIDDEN),
    "detail": partial(small, ConditionalGAN, generator=DETAIL),
    "clusters": partial(small, SelfConditionedGAN, clusters=3, latent="uniform"),
    "drift": partial(Drift, SHAPE, 10, generator=HIDDEN, latent_dim=9),
    "vae": partial(VariationalAutoencoder, SHAPE, 10, decoder=HIDDEN, average=EMAOptions(0.9)),
    "flow": partial(
        Flow, (1, 8, 8), 10, network=partial(UNet, widths=[4, 4], blocks=[1, 1]), steps=2,
        guidance=0.5, guidance_interval=(0.1, 1.0), class_dropout=0.1, black_threshold=0.02,
    ),
    "own": partial(small, generator=own, image_shape=(1, 8, 8), trunk=lambda shape: nn.Flatten()),
    "dense": partial(classifier, partial(FeedForward, hidden=[8, 8], batch_norm=True)),
    "convolutions": partial(classifier, partial(ConvNet, width=2), shift_in_evaluation=1),
    "residual": partial(
        classifier, partial(ResidualConvNet, width=2), flip=True, flip_in_evaluation=True,
        average=EMAOptions(0.9),
    ),
    "pooled": partial(ImageClassifier, (3, 12, 9), 4, pooled),
}  # fmt: skip


@torch.no_grad()
def contrasting(model: Any, names: tuple[str, ...] = ()) -> Any:
    """Draws weights and batch statistics, so that outputs differ, and names classes."""
    random = torch.Generator().manual_seed(0)
    for tensor in model.eval().state_dict().values():
        if tensor.dim() > 1:
            spread = 2 / tensor[0].numel() ** 0.5
            tensor.copy_(spread * torch.randn(tensor.shape, generator=random))
        elif tensor.is_floating_point():
            tensor += 0.3 * torch.rand(tensor.shape, generator=random)
    shape = getattr(model, "image_shape", None) or model.input_shape
    known = getattr(model, "num_classes", None) or 0
    names = (*names, *(f"class {k}" for k in range(len(names), known)))[:known] or None
    look = LOOK if shape[0] == 1 else {}
    model.input_spec = InputSpec(shape, 255.0, names, **look)
    return model


def run_of(model: Any, name: str = "a run", **config: Any) -> Any:
    """A finished run of a model, with scikit-learn's digits as data."""
    settings = Run.settings.func(SimpleNamespace(config=config, folder=Path(name)))  # type: ignore
    scores = {"val/accuracy": 0.98765, "val/loss": 1.0, "test/frechet": None}
    return SimpleNamespace(
        name=name, folder=name, settings=settings, model=lambda: model, scores=lambda: scores,
        intervals=lambda: {"val/accuracy": [0.9812, 0.9921]},
        data=lambda: Images(dataset="digits", batch_size=16),
    )  # fmt: skip
