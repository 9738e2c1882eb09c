"""A run whose data set was not found trains shorter on the small one in its place."""

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from callbacks.results import data_of
from runtime.ranges import Positive


class FallbackSteps(Callback):
    """Ends a run sooner if its data are the small digits in place of MNIST.

    Their 1,437 images need fewer steps than MNIST's 60,000. A learning-rate schedule stays that of
    the longer run, so the rate hardly falls: a fast fall would end a short run half learned.

    Args:
        max_steps: Steps on the small digits, if the run has more.
    """

    def __init__(self, max_steps: Positive) -> None:
        self.max_steps = max_steps

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # The optimizers and their schedules exist by now.
        data = data_of(trainer)
        loop = trainer.fit_loop.epoch_loop
        if data is None or not data.fell_back:
            return
        if loop.max_steps == -1 or loop.max_steps > self.max_steps:
            loop.max_steps = self.max_steps
            rank_zero_info(
                f"The small digits need fewer steps: this run ends after {self.max_steps:,}. "
                "--data.dataset digits trains as long as the config says."
            )
