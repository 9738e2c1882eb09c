"""LightningModules, the networks they train, and their losses."""

from models.classifier import Classifier
from models.gan import (
    GAN,
    AuxiliaryHead,
    ConditionalGAN,
    LectureGenerator,
    LectureTrunk,
    ModernGenerator,
    ModernTrunk,
    NonSaturating,
    NormalizedSigmoidHead,
    PlainHead,
    ProjectionHead,
    SelfConditionedGAN,
    SoftmaxHead,
)
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
    "GAN",
    "VGG16",
    "AuxiliaryHead",
    "Classifier",
    "ConditionalGAN",
    "FeedForward",
    "FunctionMLP",
    "GateLogistic",
    "GateMLP",
    "ImageClassifier",
    "IrisMLP",
    "LectureConvNet",
    "LectureGenerator",
    "LectureTrunk",
    "ModernGenerator",
    "ModernTrunk",
    "NonSaturating",
    "NormalizedSigmoidHead",
    "OneHiddenLayer",
    "PlainHead",
    "ProjectionHead",
    "ResNet9",
    "ResidualConvNet",
    "SelfConditionedGAN",
    "SoftmaxHead",
]
