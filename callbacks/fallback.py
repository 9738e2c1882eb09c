"""A shorter run on the small digits if MNIST was not found."""

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from callbacks.recording import datamodule_of
from runtime.ranges import Positive


class FallbackSteps(Callback):
    """Ends a run earlier if its data are the small digits instead of MNIST.

    Their 1,437 images need fewer steps than MNIST's 60,000. The learning-rate schedule stays that
    of the longer run, so the rate hardly decreases. A fast decrease would stop learning too early.

    Args:
        max_steps: Largest number of steps on the small digits.
    """

    def __init__(self, max_steps: Positive) -> None:
        self.max_steps = max_steps

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # The optimizers and their schedules exist by now.
        data = datamodule_of(trainer)
        loop = trainer.fit_loop.epoch_loop
        if data is None or not data.used_fallback:
            return
        if loop.max_steps == -1 or loop.max_steps > self.max_steps:
            loop.max_steps = self.max_steps
            rank_zero_info(
                f"The small digits need fewer steps: this run ends after {self.max_steps:,}. "
                "--data.dataset digits trains as long as the config says."
            )
