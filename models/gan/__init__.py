"""Generative adversarial networks: the models, their networks, heads and losses."""

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

__all__ = [
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
