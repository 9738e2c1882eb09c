"""The classifier whose features the quality of generated images is measured by."""

from typing import Any

from metrics.judge import JudgeNetwork
from models.image_classifiers import ImageClassifier


class Judge(ImageClassifier):
    """Trains `metrics.judge.JudgeNetwork`; see `configs/judge/`.

    Args:
        width: Channels of the first convolution.
        num_features: Size of the features.
        num_classes: Number of classes.
        **classifier: As for `ImageClassifier`.
    """

    def __init__(
        self, width: int = 32, num_features: int = 64, num_classes: int = 10, **classifier: Any
    ) -> None:
        super().__init__(**classifier)
        network = JudgeNetwork(width, num_features, num_classes)
        self.set_network(network, input_shape=(1, 28, 28), classes=num_classes)
