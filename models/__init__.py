"""LightningModules, the networks they train, and their losses."""

from models.cgan import ConditionalGAN
from models.classifier import Classifier
from models.gan import GAN
from models.gan_heads import (
    AuxiliaryHead,
    NormalizedSigmoidHead,
    PlainHead,
    ProjectionHead,
    SoftmaxHead,
)
from models.gan_networks import LectureGenerator, LectureTrunk, ModernGenerator, ModernTrunk
from models.gates import GateLogistic, GateMLP
from models.image_classifiers import ImageClassifier
from models.iris import IrisMLP
from models.losses import NonSaturating
from models.networks import (
    FeedForward,
    LectureConvNet,
    OneHiddenLayer,
    ResidualConvNet,
    ResNet9,
)
from models.regressor import FunctionMLP
from models.self_conditioned import SelfConditionedGAN
from models.vgg import VGG16

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
