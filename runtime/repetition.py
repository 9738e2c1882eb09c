"""A first training step that does not count, so that runs of several ranks resume to the bit."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng

from runtime import lightning_fixes


class Repetition(Callback):
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


@contextmanager
def rolled_back(trainer: Trainer, model: LightningModule) -> Iterator[None]:
    """Undoes what training on a batch does: to the model, optimizers, counters and generators."""
    loops: Any = trainer.fit_loop.epoch_loop
    automatic = loops.automatic_optimization
    wrapped: Any = trainer.strategy.model  # in DDP, whose attributes say when to share buffers
    owners = [*wrapped.modules(), *trainer.optimizers, automatic]
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
