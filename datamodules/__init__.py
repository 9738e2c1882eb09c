"""Data sets as LightningDataModules: in memory, on the training device, in whole batches."""

from datamodules.base import InMemoryDataModule, Split, Splits
from datamodules.frame import Frame
from datamodules.functions import Functions
from datamodules.gates import Gates
from datamodules.images import Images
from datamodules.iris import Iris
from datamodules.loader import BatchLoader
from datamodules.own_images import ImageArrays, ImageFolder
from datamodules.points import Points

__all__ = [
    "BatchLoader",
    "Frame",
    "Functions",
    "Gates",
    "ImageArrays",
    "ImageFolder",
    "Images",
    "InMemoryDataModule",
    "Iris",
    "Points",
    "Split",
    "Splits",
]
