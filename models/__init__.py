"""LightningModules, the networks they train, and their losses."""

from models.autoencoder import VariationalAutoencoder
from models.classifier import Classifier
from models.drift import Drift
from models.flow import Flow
from models.gan import losses as losses  # so that the command line finds them by name
from models.gan.conditional import ConditionalGAN
from models.gan.conditional_discriminators import ACGANDiscriminator, ProjectionDiscriminator
from models.gan.diff_augment import DiffAugment
from models.gan.discriminator import NonSaturating, PlainDiscriminator
from models.gan.gan import GAN
from models.gan.instance_noise import InstanceNoise
from models.gan.lecture import (
    LectureGenerator,
    LectureTrunk,
    NormalizedSigmoidDiscriminator,
    SoftmaxDiscriminator,
)
from models.gan.networks import ModernGenerator, ModernTrunk
from models.gan.self_conditioned import SelfConditionedGAN
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
    "GAN",
    "VGG16",
    "ACGANDiscriminator",
    "Classifier",
    "ConditionalGAN",
    "ConvNet",
    "DiffAugment",
    "Drift",
    "FeedForward",
    "Flow",
    "FunctionMLP",
    "GateLogistic",
    "GateMLP",
    "ImageClassifier",
    "InstanceNoise",
    "IrisMLP",
    "LectureConvNet",
    "LectureGenerator",
    "LectureTrunk",
    "ModernGenerator",
    "ModernTrunk",
    "MuonWithAdam",
    "NonSaturating",
    "NormalizedSigmoidDiscriminator",
    "OneHiddenLayer",
    "PlainDiscriminator",
    "PlaneGenerator",
    "PlaneTrunk",
    "PlaneVelocity",
    "Pretrained",
    "PretrainedClassifier",
    "ProjectionDiscriminator",
    "ResNet9",
    "ResidualConvNet",
    "SelfConditionedGAN",
    "SoftmaxDiscriminator",
    "UNet",
    "VariationalAutoencoder",
]
