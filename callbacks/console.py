"""Words for the terminal."""

from lightning import Trainer
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm


def say(trainer: Trainer, text: str) -> None:
    """Prints on rank zero, on lines of its own.

    A plain print would go on in the progress bar's line while that is open; Lightning's
    `pl_module.print` says nothing at all once it is closed.
    """
    if trainer.is_global_zero:
        Tqdm.write(text)
