"""When things that happen "each epoch" are due."""

import math
from typing import Any

from lightning import Trainer


def epoch_is_due(trainer: Trainer, min_steps: int) -> bool:
    """Whether to act at the end of this epoch: at each, or every few where epochs are short.

    A data set of ten batches would otherwise have a picture and a checkpoint every ten steps.
    Always true at the end of the run.
    """
    every = max(1, math.ceil(min_steps / trainer.num_training_batches))
    return (trainer.current_epoch + 1) % every == 0 or is_over(trainer)


def is_over(trainer: Trainer) -> bool:
    """Whether the step or epoch that just ended is the run's last."""
    loop: Any = trainer.fit_loop
    steps_done = trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps
    stopped = trainer.should_stop and loop._can_stop_early  # as `EarlyStopping` asks
    epochs = loop.epoch_progress.current.processed
    return (
        steps_done
        or stopped
        or (trainer.max_epochs not in (None, -1) and epochs >= trainer.max_epochs)
    )
