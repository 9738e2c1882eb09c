"""LightningModules, the networks they train, and their losses."""

from models.autoencoder import VariationalAutoencoder
from models.classifier import Classifier
from models.drift import Drift
from models.flow import Flow
from models.gan import losses as losses  # so that the command line finds them by name
from models.gan.conditional import ConditionalGAN
from models.gan.discriminator import NonSaturating, PlainHead
from models.gan.gan import GAN
from models.gan.heads import AuxiliaryHead, ProjectionHead
from models.gan.lecture import (
    LectureGenerator,
    LectureTrunk,
    NormalizedSigmoidHead,
    SoftmaxHead,
)
from models.gan.networks import ModernGenerator, ModernTrunk
from models.gan.self_conditioned import SelfConditionedGAN
from models.gan.tricks import View
from models.gates import GateLogistic, GateMLP
from models.image_classifiers import ImageClassifier
from models.iris import IrisMLP
from models.muon import MuonWithAdam
from models.networks import (
    VGG16,
    ConvNet,
    FeedForward,
    LectureConvNet,
    OneHiddenLayer,
    ResidualConvNet,
    ResNet9,
)
from models.plane import PlaneGenerator, PlaneTrunk, PlaneVelocity
from models.regressor import FunctionMLP
from models.unet import UNet

__all__ = [
    "VGG16",
    "Classifier",
    "ConvNet",
    "Drift",
    "FeedForward",
    "Flow",
    "FunctionMLP",
    "GateLogistic",
    "GateMLP",
    "ImageClassifier",
    "IrisMLP",
    "LectureConvNet",
    "MuonWithAdam",
    "OneHiddenLayer",
    "PlaneGenerator",
    "PlaneTrunk",
    "PlaneVelocity",
    "ResNet9",
    "ResidualConvNet",
    "UNet",
    "VariationalAutoencoder",
    "GAN",
    "AuxiliaryHead",
    "ConditionalGAN",
    "LectureGenerator",
    "LectureTrunk",
    "ModernGenerator",
    "ModernTrunk",
    "NonSaturating",
    "NormalizedSigmoidHead",
    "PlainHead",
    "ProjectionHead",
    "SelfConditionedGAN",
    "SoftmaxHead",
    "View",
]
