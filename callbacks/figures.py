"""Where pictures go: `figures/` in the run's folder, and TensorBoard."""

from pathlib import Path

import numpy as np
from lightning import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from runtime.files import write


def figures_folder(trainer: Trainer) -> Path | None:
    """The run's `figures/`, made if need be; None off rank zero or where the run has no folder.

    Call it on rank zero and others alike: asking for the run's folder is a broadcast.
    """
    folder = trainer.log_dir
    trial = trainer.fast_dev_run  # type: ignore[attr-defined]  # set by a connector
    if folder is None or not trainer.loggers or trial or not trainer.is_global_zero:
        return None
    path = Path(folder) / "figures"
    path.mkdir(parents=True, exist_ok=True)
    return path


def output_folder(path: Path) -> Path:
    """The folder that `--out` names, made and tried before any work goes into it.

    Raises:
        MisconfigurationException: It cannot be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise MisconfigurationException(
            f"--out {path}: cannot be written to ({error.strerror}). Give another folder."
        ) from error
    return path


def tensorboard(trainer: Trainer) -> SummaryWriter | None:
    """TensorBoard's writer, if the run has one on this rank."""
    if not trainer.is_global_zero:
        return None
    found = [log.experiment for log in trainer.loggers if isinstance(log, TensorBoardLogger)]
    return found[0] if found else None


def write_png(path: Path, picture: Tensor) -> None:
    """Writes a picture (1, H, W) in [0, 1] as a greyscale PNG."""
    from PIL import Image

    pixels = (picture[0].clamp(0, 1) * 255).round().byte().cpu().numpy()
    write(path, Image.fromarray(np.ascontiguousarray(pixels)).save)


def tile(images: Tensor, columns: int, padding: int = 2, scale: int = 2) -> Tensor:
    """Images (N, 1, H, W), row by row, as one picture (1, H', W') on a grey ground."""
    from torchvision.utils import make_grid

    grid = make_grid(images, nrow=columns, padding=padding, pad_value=0.5)[:1]
    return grid.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)
