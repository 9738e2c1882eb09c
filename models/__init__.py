"""LightningModules, the networks they train, and their losses."""

from models import gan
from models.autoencoder import VariationalAutoencoder
from models.classifier import Classifier
from models.drift import Drift
from models.flow import Flow
from models.gan import *  # noqa: F403
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
from models.pretrained import Pretrained, PretrainedClassifier
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
    "Pretrained",
    "PretrainedClassifier",
    "ResNet9",
    "ResidualConvNet",
    "UNet",
    "VariationalAutoencoder",
]
__all__ += gan.__all__
