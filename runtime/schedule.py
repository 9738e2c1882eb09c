"""Epochs and steps at which pictures, scores and checkpoints are due."""

import math
from typing import Any

from lightning import Trainer


def epoch_is_due(trainer: Trainer, min_steps: int) -> bool:
    """Returns whether to act at the end of this epoch.

    That is each epoch, or every few if an epoch has fewer than `min_steps` batches: a data set of
    ten batches would otherwise get a picture and a checkpoint every ten steps. The end of the run
    is always due.
    """
    every = max(1, math.ceil(min_steps / trainer.num_training_batches))
    return (trainer.current_epoch + 1) % every == 0 or is_over(trainer)


def is_over(trainer: Trainer) -> bool:
    """Returns whether the step or epoch that just ended is the run's last."""
    loop: Any = trainer.fit_loop
    epochs, steps = loop.epoch_progress.current.processed, trainer.global_step
    may_stop = epochs >= (trainer.min_epochs or 0) and steps >= (trainer.min_steps or 0)
    return (
        (trainer.max_steps != -1 and steps >= trainer.max_steps)
        or (trainer.max_epochs not in (None, -1) and epochs >= trainer.max_epochs)
        or (trainer.should_stop and may_stop)  # early stopping
    )
