"""A classifier of iris flowers, with within-class noise as augmentation."""

import math
from typing import Any

import torch
from torch import Tensor

from models.base import NetworkCallable
from models.classifier import Classifier
from models.networks import VECTORS, FeedForward
from runtime.ranges import NonNegativeFloat


class IrisMLP(Classifier):
    """Four lengths -> three species; with the defaults, the lecture's 4-128-3 network.

    Args:
        input_shape: Shape of one example.
        num_classes: Number of classes.
        network: From (input_shape, num_outputs) to the network.
        variation: Standard deviation of noise in training, relative to that within a species.
        **classifier: As for `Classifier`.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...] = (4,),
        num_classes: int = 3,
        network: NetworkCallable = FeedForward,
        variation: NonNegativeFloat = 0.0,
        **classifier: Any,
    ) -> None:
        remedy = "choose --data Iris, or a model of images, such as ImageClassifier"
        VECTORS.check(input_shape, "IrisMLP", remedy)
        super().__init__(input_shape, num_classes, network, **classifier)
        self.variation = variation

    def augment(self, inputs: Tensor, targets: Tensor) -> Tensor:
        if not self.variation:
            return inputs
        return inputs + self.variation * within_class_noise(inputs, targets)


def within_class_noise(inputs: Tensor, targets: Tensor) -> Tensor:
    """Returns noise (B, F) with the pooled covariance of inputs (B, F) within a class (B,).

    The noise is the difference of two examples of one class, divided by sqrt(2), and is given to a
    third example of any class. Under such noise a network separates classes as linear discriminant
    analysis does, which is hard to beat on few examples of nearly normal classes. An example that
    is alone in its class in the batch gives no noise.
    """
    same = (targets[:, None] == targets).to(inputs.dtype).fill_diagonal_(1e-9)
    partner = torch.multinomial(same, 1)[:, 0]
    differences = (inputs - inputs[partner]) / math.sqrt(2)
    return differences[torch.randperm(len(inputs), device=inputs.device)]
