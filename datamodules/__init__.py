"""Data sets as LightningDataModules: in memory, on the training device, in whole batches."""

from datamodules.base import InMemoryDataModule
from datamodules.data_module import DataModule, Split, Splits
from datamodules.functions import Functions
from datamodules.gates import Gates
from datamodules.images import Images
from datamodules.input_spec import InputSpec
from datamodules.iris import Iris
from datamodules.loader import BatchLoader
from datamodules.own_images import ImageArrays, ImageFolder
from datamodules.points import Points

__all__ = [
    "BatchLoader",
    "DataModule",
    "Functions",
    "Gates",
    "ImageArrays",
    "ImageFolder",
    "Images",
    "InMemoryDataModule",
    "InputSpec",
    "Iris",
    "Points",
    "Split",
    "Splits",
]
