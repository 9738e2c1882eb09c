"""The judge: a frozen classifier whose features and classes the quality scores compare.

Inception, the usual choice, was trained on photographs and distinguishes digits poorly. So
`configs/judge/` trains a small judge for each data set, and `metrics/weights/` holds its weights as
plain arrays. `metrics/probe.py` has the judge of color pictures. A judge scores samples; it never
gives a generator a gradient.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from metrics.samples import Samples
from runtime.files import read_json

WEIGHTS = Path(__file__).parent / "weights"
RECIPES = WEIGHTS / "judges.json"  # SHA-256, test accuracy and recipe of each file
MNIST_SHAPE = (1, 28, 28)  # image shape of the weight files that do not store one
PREFIXES = ("ema.network.", "network.")  # of a classifier's weights; the averaged ones count


class Judge(nn.Module):
    """A frozen network with the D features that are compared, and a linear layer to the K classes.

    A subclass sets `trunk`, from images (B, C, H, W) in [0, 1] to features (B, D), and `classes`.
    """

    image_shape: tuple[int, ...]  # (C, H, W) of the images that it scores
    num_classes: int
    trunk: nn.Module
    classes: nn.Linear
    most_fitted: int = 0  # training images from which `fit` learns
    if_weak: str = "its scores say little: train a better one"  # if it sees many wrong classes

    def fit(self, train: Samples) -> None:
        """Learns the classes of training images, before anything is scored."""

    def check(self, image_shape: Sequence[int]) -> None:
        """Raises a ValueError unless the judge scores images of this shape (C, H, W)."""
        if tuple(image_shape) != self.image_shape:
            raise ValueError(
                f"the judge scores images of shape {self.image_shape} and cannot score images of "
                f"shape {tuple(image_shape)}: train a judge for them, see configs/judge"
            )

    @torch.no_grad()
    def judge(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Computes features (B, D) and predicted classes (B,) of images uint8 (B, C, H, W).

        Always in float32, so that scores of runs in different precisions compare.
        """
        self.check(images.shape[1:])
        with torch.autocast(images.device.type, enabled=False):
            features = self.trunk(images.float() / 255)
            return features, self.classes(features).argmax(dim=1)


class JudgeNetwork(Judge):
    """Five convolutions, the D features that are compared, and a linear layer to the K classes.

    `image_shape` is (C, H, W) of its training images, `width` the first convolution's channels.
    """

    def __init__(
        self, image_shape: Sequence[int], num_classes: int, width: int = 32, num_features: int = 64
    ) -> None:
        super().__init__()
        channels, height, columns = image_shape
        if min(height, columns) < 3:
            raise ValueError(f"a judge needs images of 3 x 3 or more, not {height} x {columns}")
        self.image_shape = (channels, height, columns)
        self.num_features, self.num_classes = num_features, num_classes
        self.trunk = nn.Sequential(
            *Conv2dNormActivation(channels, width, kernel_size=5, stride=2),  # H / 2
            *Conv2dNormActivation(width, 2 * width),
            *Conv2dNormActivation(2 * width, 2 * width),
            nn.MaxPool2d(2),  # H / 4
            *Conv2dNormActivation(2 * width, 4 * width),
            *Conv2dNormActivation(4 * width, num_features),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.classes = nn.Linear(num_features, num_classes)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs

    def forward(self, images: Tensor) -> Tensor:
        """Computes logits (B, K) of images (B, C, H, W) in [0, 1]."""
        return self.classes(self.trunk(images))


def load_judge(name: str) -> JudgeNetwork:
    """Loads a judge with its trained weights, frozen and in eval mode."""
    if name not in recipes():
        known = ", ".join(recipes())
        raise ValueError(
            f"there is no judge {name!r}: use pretrained, one of {known}, or a run of "
            "configs/judge/own.yaml"
        )
    path = WEIGHTS / f"{name}.npz"
    if not path.is_file() or sha256(path) != recipes()[name].get("sha256"):
        raise ValueError(f"{path} is missing or damaged: put the original file back")
    with np.load(path, allow_pickle=False) as arrays:
        weights = {key: torch.from_numpy(arrays[key]) for key in arrays.files}
    shape = weights.pop("image_shape", torch.tensor(MNIST_SHAPE)).tolist()
    return build_judge(weights, shape).eval().requires_grad_(False)


def build_judge(weights: Mapping[str, Tensor], image_shape: Sequence[int]) -> JudgeNetwork:
    """Builds the network that has these weights; a KeyError or RuntimeError if they do not fit."""
    num_classes, num_features = weights["classes.weight"].shape
    network = JudgeNetwork(image_shape, num_classes, len(weights["trunk.0.weight"]), num_features)
    network.load_state_dict(dict(weights))
    return network


def judge_of_checkpoint(checkpoint: Mapping[str, Any]) -> JudgeNetwork | None:
    """Returns the frozen judge in the checkpoint of a classifier; None if its network is another.

    Its weights are the averaged ones, if the classifier evaluates these.
    """
    state, hparams = checkpoint.get("state_dict", {}), checkpoint.get("hyper_parameters", {})
    shape = hparams.get("input_shape", MNIST_SHAPE)
    for prefix in PREFIXES:
        weights = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if weights:
            try:
                return build_judge(weights, shape).eval().requires_grad_(False)
            except (KeyError, RuntimeError, ValueError, TypeError):  # of others
                return None
    return None


def recipes() -> dict[str, dict[str, Any]]:
    return read_json(RECIPES)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
