"""What every model shares: seeded randomness, cheap logging, plain hyperparameters."""

import inspect
import os
from types import FrameType
from typing import Any, cast

import numpy as np
import torch
from lightning import LightningModule
from torch import Tensor
from torch.optim import Optimizer


def derive_seed(*entropy: int) -> int:
    """Mixes several numbers into one 63-bit seed; their order matters."""
    sequence = np.random.SeedSequence([len(entropy), *entropy])  # numpy ignores trailing zeros
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)


class Module(LightningModule):
    """A LightningModule whose run is a function of its config and its seed.

    Whatever is random in a training batch is seeded from (seed, epoch, batch), never taken from a
    generator's hidden state; a resumed run therefore continues to the bit. The seed is the one
    that `seed_everything` set (0 without it), and a checkpoint's own seed when resuming.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        self._sums: dict[str, tuple[Tensor, int]] = {}  # name -> sum, count of batches

    def save_hyperparameters(
        self, *args: Any, frame: FrameType | None = None, **kwargs: Any
    ) -> None:
        """Saves the init arguments as Lightning does, less what is not a plain value.

        Classes and functions, such as an optimizer given in Python, would make a checkpoint that
        `weights_only` refuses to load. The command line passes optimizers as plain values.
        """
        frame = frame or cast(FrameType, inspect.currentframe()).f_back
        super().save_hyperparameters(*args, frame=frame, **kwargs)
        for name in [name for name, value in self.hparams.items() if callable(value)]:
            del self.hparams[name]

    # -- randomness ---------------------------------------------------------------------------

    def batch_generator(self, batch_idx: int) -> torch.Generator:
        """A CPU generator for this training batch, the same on every rank and every device."""
        seed = derive_seed(self.seed, self.current_epoch, batch_idx)
        return torch.Generator().manual_seed(seed)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seeds dropout and augmentation, which draw from the global generators."""
        seed = derive_seed(self.seed, self.current_epoch, batch_idx, self.global_rank)
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(seed)  # `torch.manual_seed` asks every backend
        else:
            torch.manual_seed(seed)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["seed"] = self.seed

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.seed = checkpoint.get("seed", self.seed)

    # -- optimisation ---------------------------------------------------------------------------

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """As `optimizer.zero_grad()`, but for the 30 us in which that tells torch's profiler."""
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    # -- logging ------------------------------------------------------------------------------

    def log_means(self, values: dict[str, Tensor]) -> None:
        """Logs the means of scalars over the batches since the last logging step, once a batch.

        `self.log` costs about 350 us a key and call; here a batch costs one addition a key, on the
        device, and Lightning is called on logging steps alone. A key may be absent from a batch.
        """
        for name, value in values.items():
            total, count = self._sums.get(name, (torch.zeros_like(value), 0))
            self._sums[name] = (total + value, count + 1)
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by a connector
        if not every or (self.global_step + 1) % every:
            return
        if not self.trainer.fit_loop._should_accumulate():  # else the same step comes again
            means = {f"train/{name}": total / n for name, (total, n) in self._sums.items()}
            self.log_dict(means, prog_bar=True, sync_dist=True)
            self._sums = {}
