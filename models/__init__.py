"""LightningModules, the networks they train, and their losses."""

from models.cgan import ConditionalGAN
from models.classifier import Classifier
from models.gan import GAN
from models.gates import GateLogistic, GateMLP
from models.image_classifiers import ImageClassifier
from models.iris import IrisMLP
from models.regressor import FunctionMLP
from models.vgg import VGG16

__all__ = [
    "GAN",
    "VGG16",
    "Classifier",
    "ConditionalGAN",
    "FunctionMLP",
    "GateLogistic",
    "GateMLP",
    "ImageClassifier",
    "IrisMLP",
]
