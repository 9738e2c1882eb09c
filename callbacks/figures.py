"""Output of pictures: `figures/` in the run's folder, and TensorBoard."""

from pathlib import Path

from lightning import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from models.sampling import to_pixels
from runtime.files import write


def figures_folder(trainer: Trainer) -> Path | None:
    """Returns the run's `figures/`, created if needed.

    Call it on every rank, because Lightning broadcasts the name of the run's folder.

    Returns:
        None on ranks other than zero, or if the run has no folder.
    """
    folder = trainer.log_dir
    trial = trainer.fast_dev_run  # type: ignore[attr-defined]  # set by a connector
    if folder is None or not trainer.loggers or trial or not trainer.is_global_zero:
        return None
    path = Path(folder) / "figures"
    path.mkdir(parents=True, exist_ok=True)
    return path


def output_folder(path: Path) -> Path:
    """Creates the folder that `--out` names and checks that it is writable, before any work.

    Raises:
        MisconfigurationException: The folder is not writable.
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
    """Returns TensorBoard's writer, or None on ranks other than zero and in runs without it."""
    if not trainer.is_global_zero:
        return None
    loggers = (log for log in trainer.loggers if isinstance(log, TensorBoardLogger))
    return next((log.experiment for log in loggers), None)


def write_png(path: Path, picture: Tensor) -> None:
    """Writes a picture (C, H, W) in [0, 1] as a PNG, in grey or in colour."""
    from torchvision.transforms.functional import to_pil_image

    write(path, to_pil_image(to_pixels(picture).cpu()).save)


def tile(images: Tensor, columns: int, padding: int = 2, scale: int | None = None) -> Tensor:
    """Joins images (N, C, H, W) in [0, 1], row by row, into one picture on a grey ground.

    Args:
        images: One or three channels.
        columns: Images per row.
        padding: Distance of neighbouring images in their own pixels.
        scale: Enlargement of each pixel. By default an image is about 56 pixels high.

    Returns:
        The picture (C, H', W').
    """
    from torchvision.utils import make_grid

    scale = scale or max(1, round(56 / images.shape[2]))
    grid = make_grid(images, columns, padding, pad_value=0.5)[: images.shape[1]]
    return grid.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)
