"""LightningModules, the networks they train, and their losses."""

from models.cgan import ConditionalGAN
from models.gan import GAN
from models.gates import GateLogistic, GateMLP
from models.image_classifiers import MNISTConv, MNISTDense
from models.iris import IrisMLP
from models.judge import Judge
from models.regressor import FunctionMLP
from models.vgg import VGG

__all__ = [
    "GAN",
    "VGG",
    "ConditionalGAN",
    "FunctionMLP",
    "GateLogistic",
    "GateMLP",
    "IrisMLP",
    "Judge",
    "MNISTConv",
    "MNISTDense",
]
