"""Repeated training steps from the same state, to detect silent data corruption."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from runtime import lightning_fixes
from runtime.errors import RunFailedError

INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes


class Rehearsal(Callback):
    """Trains on the first batch once more before it counts, for runs of more than two ranks in DDP.

    DDP rearranges its gradient buckets after the first all-reduce, which changes the rounding of
    sums over more than two ranks. So the first step of a resumed run would differ from that of an
    uninterrupted run.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._due = pl_module.automatic_optimization  # DDP does not average for a manual one

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        ends_window = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if self._due and (ends_window or trainer.is_last_batch):
            self._due = False
            with rolled_back(trainer, pl_module):
                lightning_fixes.train_on(trainer, batch, batch_idx)


class Corruption(Callback):
    """Ends a run with silent data corruption: every `every`-th step is repeated and compared.

    It checks that both results have the same bits, that nothing changes between two steps, and that
    weights and optimizer states are equal on all ranks.
    """

    def __init__(self, every: int) -> None:
        self.every = every

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._batches, self._sums = 0, list[Tensor]()  # of the checked batch

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._sums:
            self._sums.append(sums_of_bits(trainer, pl_module)[1])
            with rolled_back(trainer, pl_module):
                lightning_fixes.train_on(trainer, batch, batch_idx)
                self._sums.append(sums_of_bits(trainer, pl_module)[1])

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._batches += 1
        checked, self._sums = self._sums, []
        if checked or self._batches % self.every == 0:
            names, sums = sums_of_bits(trainer, pl_module)
            if checked:
                shared = len(names) - len([*pl_module.buffers()])
                compare_bits(trainer, names, torch.stack([*checked, sums]), shared)
            self._sums = [] if self._batches % self.every else [sums]


def sums_of_bits(trainer: Trainer, model: LightningModule) -> tuple[list[str], Tensor]:
    """Returns the names of weights, optimizer states and buffers, and sums (T,) of their bits."""
    weights, tensors = dict(model.named_parameters()), dict[str, list[Any]]()
    for name, weight in weights.items():
        states = [optimizer.state.get(weight, {}).values() for optimizer in trainer.optimizers]
        tensors |= {name: [weight], f"optimizer state of {name}": [v for s in states for v in s]}
    tensors |= {name: [buffer] for name, buffer in model.named_buffers()}
    sums = torch.zeros(len(tensors), dtype=torch.int64, device=model.device)
    for i, parts in enumerate(tensors.values()):
        for part in filter(torch.is_tensor, parts):
            sums[i] += part.detach().view(INTEGERS[part.element_size()]).sum(dtype=torch.int64)
    return [*tensors], sums


@contextmanager
def rolled_back(trainer: Trainer, model: LightningModule) -> Iterator[None]:
    """Undoes what training on a batch does: to the model, optimizers, counters and generators."""
    loops: Any = trainer.fit_loop.epoch_loop
    automatic, manual = loops.automatic_optimization, loops.manual_optimization
    wrapped: Any = trainer.strategy.model  # in DDP, whose attributes say when to share buffers
    owners = [*wrapped.modules(), *trainer.optimizers, automatic, manual]
    mappings: list[Any] = [vars(owner) for owner in owners]
    mappings += [value for owner in mappings for value in owner.values() if isinstance(value, dict)]
    mappings += [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    before = [(mapping, dict(mapping)) for mapping in mappings]
    kept = [(t, t.detach().clone(), t.grad) for t in (*model.parameters(), *model.buffers())]
    for tensor, _, grad in kept:
        tensor.grad = None if grad is None else grad.clone()
    for optimizer in trainer.optimizers:
        state = {weight: deepcopy(state) for weight, state in optimizer.state.items()}
        optimizer.state = defaultdict(dict, state)
    automatic.optim_progress = deepcopy(automatic.optim_progress)
    manual.optim_step_progress = deepcopy(manual.optim_step_progress)
    scaler = trainer.precision_plugin.state_dict()
    vars(model)["log"] = lambda *args, **kwargs: None
    with isolate_rng():
        yield
    trainer.precision_plugin.load_state_dict(scaler)
    for mapping, content in before:
        mapping.clear()
        mapping.update(content)
    for tensor, value, grad in kept:
        tensor.data.copy_(value)
        tensor.grad = grad


def compare_bits(trainer: Trainer, names: list[str], sums: Tensor, shared: int) -> None:
    """Compares sums (4, T): after a step, before the next one, and after it and its repetition.

    Raises:
        RunFailedError: On all ranks, if they differ on one of them.
    """
    ranks = trainer.strategy.all_gather(sums).view(-1, *sums.shape)  # (W, 4, T)
    ended, begun, once, twice = ranks.unbind(dim=1)
    changed = ended != begun
    alone = (twice[:, None] != twice).float().mean(dim=1) >= 0.5  # unlike half of the ranks or more
    for buffers in (changed[:, shared:], alone[:, shared:]):
        buffers[:] = False  # a validation may change them, and they describe a rank's own images
    for wrong, what in (
        (changed, "changed between two steps"),
        (once != twice, "differs if the step is repeated"),
        (alone, "differs between ranks"),
    ):
        if wrong.any():
            bad = " or ".join(str(rank) for rank in wrong.any(dim=1).nonzero().flatten().tolist())
            name = names[int(wrong.any(dim=0).nonzero()[0])]
            raise RunFailedError(
                f"silent corruption at step {trainer.global_step} on rank {bad}: {name} {what}. "
                "The memory or a processor of its machine is defective. Go on elsewhere, from a "
                "checkpoint that is older than the last check: `--ckpt_path FILE`."
            )
