"""Data sets as LightningDataModules, whose examples come in whole batches from where they are."""

from datamodules.base import ArrayDataModule
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
    "ArrayDataModule",
    "InputSpec",
    "Iris",
    "Points",
    "Split",
    "Splits",
]
