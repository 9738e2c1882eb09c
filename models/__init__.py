"""LightningModules, the networks they train, and their losses."""

from models.cgan import ConditionalGAN
from models.gan import GAN

__all__ = ["GAN", "ConditionalGAN"]
