"""Example of a score in a separate file: difference of the mean brightness, in grey levels."""

import torch
from torch import Tensor
from torchmetrics import Metric

from metrics import Score, Sets, Setting, Statistic


class MeanBrightness(Statistic):
    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(2, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, images: Tensor) -> None:
        self.sums += torch.tensor([images.sum(), images.numel()]).to(self.sums)

    def compute(self) -> Tensor:
        return self.sums[0] / self.sums[1]


class Brightness(Score):
    name, better, stages = "brightness", "lower", ("fit", "validate", "test")

    def statistics(self, setting: Setting) -> dict[str, Metric]:
        return {"brightness": MeanBrightness()}

    def compare(self, sets: Sets) -> float:
        return abs(sets.samples["brightness"] - sets.test["brightness"]).item()
