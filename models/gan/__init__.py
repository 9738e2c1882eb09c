"""Generative adversarial networks: the models, their networks, heads and losses."""

from models.gan.conditional import ConditionalGAN
from models.gan.gan import GAN
from models.gan.heads import AuxiliaryHead, PlainHead, ProjectionHead
from models.gan.lecture import (
    LectureGenerator,
    LectureTrunk,
    NormalizedSigmoidHead,
    SoftmaxHead,
)
from models.gan.losses import NonSaturating
from models.gan.networks import ModernGenerator, ModernTrunk
from models.gan.self_conditioned import SelfConditionedGAN

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
]
