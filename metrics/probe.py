"""The judge of color pictures: features of a network that was trained before, on other pictures.

Its classes are those of a linear probe, a logistic regression from the features of training images
(Alain and Bengio 2017).
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from metrics.judge import Judge
from metrics.samples import Samples

SIDE = 96  # pixels of the shorter side of enlarged images; at 64 a probe is 2 % worse
BLOCK = 16  # images at a time, whose activations a CPU's cache holds
INVERSE_PENALTY = 0.03  # of the squared weights, in the logistic regression


class UnitFeatures(nn.Module):
    """Enlarges images and divides their features (B, D) by their length over D^(1/2).

    Without that, pictures that a network hardly knows, such as noise, have short features. These
    lie in the middle of those of real pictures, so precision and density are best for noise.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Computes features (B, D) of images (B, C, H, W) in [0, 1]."""
        size = [max(x, round(x * SIDE / min(images.shape[2:]))) for x in images.shape[2:]]
        blocks = [interpolate(x, size, mode="bilinear") for x in images.split(BLOCK)]
        features = torch.cat([self.network(block) for block in blocks])
        return normalize(features) * features.shape[1] ** 0.5


class ProbedJudge(Judge):
    """Features of a network, and the classes of a linear probe, which `fit` trains.

    Args:
        network: From images (B, C, H, W) in [0, 1] to features (B, D).
        image_shape: (C, H, W) of the images, of any size.
        num_features: D.
        num_classes: Number of classes.
    """

    most_fitted = 10_000
    if_weak = "label_accuracy and modes can tell no more than that; the other scores can"

    def __init__(
        self, network: nn.Module, image_shape: tuple[int, ...], num_features: int, num_classes: int
    ) -> None:
        super().__init__()
        self.image_shape, self.num_classes = image_shape, num_classes
        self.trunk = UnitFeatures(network)
        self.classes = nn.Linear(num_features, num_classes)
        self.eval().requires_grad_(False)

    def fit(self, train: Samples) -> None:
        """Learns the classes (N,) of features (N, D), and predicts them again.

        Classes without a training image are never predicted; without labels, all images are of
        class 0.
        """
        classes = train.predicted.new_zeros(len(train)) if train.labels is None else train.labels
        seen, weight, bias = _logistic_regression(train.features.cpu(), classes.cpu())
        self.classes.weight.zero_()
        self.classes.bias.fill_(-torch.inf)
        self.classes.weight[seen] = weight.to(self.classes.weight)
        self.classes.bias[seen] = bias.to(self.classes.bias)
        logits = self.classes(train.features.to(self.classes.weight))
        train.predicted = logits.argmax(dim=1).to(train.predicted)


def _logistic_regression(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the classes (K,) that appear, and their weights (K, D) and biases (K,)."""
    from sklearn.linear_model import LogisticRegression  # takes 0.7 s

    seen = labels.unique()
    if len(seen) == 1:
        return seen, torch.zeros(1, features.shape[1]), torch.zeros(1)
    probe = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000)
    probe.fit(features.double().numpy(), labels.numpy())
    weight, bias = probe.coef_, probe.intercept_
    if len(seen) == 2:  # the logits of the second class, over those of the first
        weight, bias = (np.concatenate([np.zeros_like(x), x]) for x in (weight, bias))
    return seen, torch.from_numpy(weight), torch.from_numpy(bias)
