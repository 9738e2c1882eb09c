"""Counts the modes of Stacked MNIST that a generator reaches, after `test`."""

from typing import NamedTuple

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from callbacks.recording import rank_zero_print
from examples.stacked_mnist.data import MODES, StackedImages
from metrics.judge import JudgeNetwork, load_judge
from models.generative import Generative, to_pixels
from models.sampling import LatentBatches, generate


class ModeCoverage(NamedTuple):
    """The number of modes with a sample, and KL(generated || real) in nats."""

    modes: int
    kl: float


class CountModes(Callback):
    """Draws stacks, lets a judge of gray images see each channel, and counts their modes.

    Logs `test/modes` and `test/modes_kl` (Metz et al. 2017), and prints both beside those of real
    training stacks. Real frequencies are those of the test stacks, as the judge sees them.

    Args:
        samples: The number of stacks to draw.
    """

    def __init__(self, samples: int = 26_000) -> None:
        self.samples = samples

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]  # set by a connector
        if not (
            isinstance(data, StackedImages) and isinstance(pl_module, Generative) and data.splits
        ):
            return
        judge = load_judge(data.channel_judge or "mnist").to(pl_module.device)
        draws = LatentBatches(
            pl_module, self.samples, rank=trainer.global_rank, world_size=trainer.world_size
        )
        counts = torch.zeros(MODES, dtype=torch.int64, device=pl_module.device)
        for draw in draws:
            images = generate(pl_module, draw.latents.to(pl_module.device))
            counts += count_modes(judge, to_pixels(images))
        counts = trainer.strategy.reduce(counts, reduce_op="sum")
        test = count_modes(judge, data.splits.test.inputs)
        real = coverage(count_modes(judge, data.splits.train.inputs[: self.samples]), test)
        found = coverage(counts, test)
        pl_module.log_dict({"test/modes": float(found.modes), "test/modes_kl": found.kl})
        rank_zero_print(
            trainer,
            f"Modes of {self.samples:,} stacks: {found.modes} of {MODES:,} (real images "
            f"{real.modes}), modes_kl {found.kl:.3f} (real images {real.kl:.3f})",
        )


def count_modes(judge: JudgeNetwork, stacks: Tensor, batch_size: int = 1000) -> Tensor:
    """Counts (1000,) stacks uint8 (N, 3, H, W) by the mode that a judge of one channel sees."""
    counts = torch.zeros(MODES, dtype=torch.int64, device=next(judge.parameters()).device)
    for batch in stacks.split(batch_size):
        channels = batch.to(counts.device).split(1, dim=1)
        red, green, blue = (judge.judge(channel)[1] for channel in channels)
        counts += torch.bincount(100 * red + 10 * green + blue, minlength=MODES)
    return counts


def coverage(counts: Tensor, real_counts: Tensor) -> ModeCoverage:
    """Computes the modes reached and the divergence of their frequencies from real ones.

    The divergence of n perfect samples over M modes is about (M - 1) / (2 n), not 0.
    """
    p, q = (c.double() / c.sum() for c in (counts, real_counts))
    kl = (torch.xlogy(p, p) - torch.xlogy(p, q)).sum()
    return ModeCoverage(int(counts.count_nonzero()), kl.item())
