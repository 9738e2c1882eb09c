"""When things that happen "each epoch" are due."""

import math

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
    steps_done = trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps
    epochs = trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]
    return steps_done or (trainer.max_epochs not in (None, -1) and epochs >= trainer.max_epochs)
