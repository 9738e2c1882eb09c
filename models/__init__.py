"""LightningModules, the networks they train, and their losses."""

from models import gan
from models.classifier import Classifier
from models.gan import *  # noqa: F403
from models.gates import GateLogistic, GateMLP
from models.image_classifiers import ImageClassifier
from models.iris import IrisMLP
from models.networks import (
    VGG16,
    FeedForward,
    LectureConvNet,
    OneHiddenLayer,
    ResidualConvNet,
    ResNet9,
)
from models.regressor import FunctionMLP

__all__ = [
    "VGG16",
    "Classifier",
    "FeedForward",
    "FunctionMLP",
    "GateLogistic",
    "GateMLP",
    "ImageClassifier",
    "IrisMLP",
    "LectureConvNet",
    "OneHiddenLayer",
    "ResNet9",
    "ResidualConvNet",
]
__all__ += gan.__all__
