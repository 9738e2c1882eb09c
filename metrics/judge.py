"""The judge: a small frozen classifier through whose eyes generated images are compared.

Inception, the usual eye, was trained on photographs and sees little in digits. A judge for each
data set is trained by `configs/judge/`, and its weights lie in `metrics/weights/` as plain arrays.
It scores samples; it never gives a generator a gradient.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

WEIGHTS = Path(__file__).parent / "weights"
RECIPES = WEIGHTS / "judges.json"  # SHA-256, test accuracy and recipe of each file
ALIKE = {"qmnist": "mnist", "emnist-digits": "mnist"}  # the same digits in the same frame


class JudgeNetwork(nn.Module):
    """Five convolutions; between them and the classes lie the features that are compared.

    Args:
        width: Channels of the first convolution.
        num_features: Size D of the features.
        num_classes: Number of classes C.
    """

    def __init__(self, width: int = 32, num_features: int = 64, num_classes: int = 10) -> None:
        super().__init__()
        self.num_features, self.num_classes = num_features, num_classes
        self.trunk = nn.Sequential(
            *_convolution(1, width, kernel_size=5, stride=2),  # 14 x 14
            *_convolution(width, 2 * width),
            *_convolution(2 * width, 2 * width),
            nn.MaxPool2d(2),  # 7 x 7
            *_convolution(2 * width, 4 * width),
            *_convolution(4 * width, num_features),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.classes = nn.Linear(num_features, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 1, 28, 28) in [0, 1] -> logits (B, C)."""
        return self.classes(self.trunk(images))

    @torch.no_grad()
    def judge(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images uint8 (B, 1, 28, 28) -> features (B, D) and the classes (B,) it sees.

        In float32 whatever the precision of the run, so that scores compare between runs.
        """
        with torch.autocast(images.device.type, enabled=False):
            features = self.trunk(images.float() / 255)
            return features, self.classes(features).argmax(dim=1)


def _convolution(
    in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1
) -> list[nn.Module]:
    padding = kernel_size // 2
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]


def judge_of(dataset: str | None) -> str | None:
    """The name of the judge for a data set, or None where there is none."""
    name = ALIKE.get(dataset or "", dataset or "")
    return name if (WEIGHTS / f"{name}.npz").is_file() else None


def load_judge(name: str) -> JudgeNetwork:
    """A judge with its trained weights, frozen, in eval mode.

    Args:
        name: `mnist`, `fashion` or `digits`.

    Raises:
        ValueError: The file's SHA-256 is not the recorded one: scores would not compare.
    """
    path = WEIGHTS / f"{name}.npz"
    recorded, found = recipes()[name]["sha256"], sha256(path)
    if found != recorded:
        raise ValueError(
            f"{path} has SHA-256 {found[:12]}..., but {RECIPES.name} records {recorded[:12]}...: "
            "restore it, or export the judge anew"
        )
    network = JudgeNetwork()
    with np.load(path, allow_pickle=False) as arrays:
        network.load_state_dict({key: torch.from_numpy(arrays[key]) for key in arrays.files})
    network.eval().requires_grad_(False)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def save_judge(network: JudgeNetwork, name: str, recipe: dict[str, Any]) -> Path:
    """Writes a judge's weights, and beside their SHA-256 how they came to be."""
    WEIGHTS.mkdir(exist_ok=True)
    path, partial = WEIGHTS / f"{name}.npz", WEIGHTS / f".{name}.partial.npz"
    arrays = {key: value.cpu().numpy() for key, value in network.state_dict().items()}
    np.savez(partial, allow_pickle=False, **arrays)
    partial.replace(path)
    entries = {**recipes(), name: {"sha256": sha256(path), **recipe}}
    partial = RECIPES.with_suffix(".partial")
    partial.write_text(json.dumps(dict(sorted(entries.items())), indent=2) + "\n")
    partial.replace(RECIPES)
    return path


def recipes() -> dict[str, dict[str, Any]]:
    """What is recorded of each judge, by name."""
    return json.loads(RECIPES.read_text()) if RECIPES.is_file() else {}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
