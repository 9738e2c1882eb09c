"""Output on the terminal."""

from lightning import Trainer
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm


def say(trainer: Trainer, text: str) -> None:
    """Prints text on lines of its own, on rank zero.

    A plain print would continue the line of an open progress bar. Lightning's `pl_module.print`
    prints nothing once the bar is closed.
    """
    if trainer.is_global_zero:
        Tqdm.write(text)
