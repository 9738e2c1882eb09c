"""Base class of every model: seeded randomness, plain hyperparameters and cheap logging."""

import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, is_dataclass
from functools import partial
from typing import Any, Self, cast

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer

from models.distributed import all_gather_stacked, local_part
from runtime.class_defaults import corrected_init_args
from runtime.errors import UserError, printable
from runtime.trust import hyperparameters, only_trusted

OPTIMIZER = re.compile(r"model\.\w*optimizer\b")
NetworkCallable = Callable[[tuple[int, ...], int], nn.Module]  # of (input_shape, num_outputs)


def derive_seed(*entropy: int) -> int:
    """Mixes several numbers into one 63-bit seed. Their order matters."""
    sequence = np.random.SeedSequence([len(entropy), *entropy])  # numpy ignores trailing zeros
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[None]:
    """Puts a network into eval mode inside the block and restores each module's mode afterward."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def is_logging_step(trainer: Trainer) -> bool:
    """Returns True in a training batch whose metrics Lightning writes to the loggers."""
    settings = cast(Any, trainer)  # connectors set these attributes
    every, window = settings.log_every_n_steps, settings.accumulate_grad_batches
    if not every or (trainer.global_step + 1) % every:
        return False
    return trainer.is_last_batch or (trainer.fit_loop.epoch_loop.batch_idx + 1) % window == 0


class Module(LightningModule):
    """A LightningModule whose run is a function of its config and its seed.

    All randomness in a training batch is seeded from (seed, epoch, batch), never from the hidden
    state of a generator, so a resumed run continues bit by bit. The seed is the one that
    `seed_everything` set (0 without it). A resumed run uses the checkpoint's seed.
    """

    # `datamodules.InputSpec` of a loaded model's training data; None: not known
    input_spec: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        self.losses: dict[str, Tensor] = {}  # of the last training batch
        self._sums: dict[str, tuple[Tensor, int]] = {}  # name -> sum, count of batches

    def save_hyperparameters(self, *args: Any, frame: Any = None, **kwargs: Any) -> None:
        """Saves the init arguments as Lightning does, as plain values only.

        Options become a mapping, a class its `class_path` and `init_args`, from which Lightning
        builds them again. A lambda has no such form and is left out. `weights_only=True` would
        refuse to load any of them.
        """
        frame = frame or cast(Any, inspect.currentframe()).f_back
        super().save_hyperparameters(*args, frame=frame, **kwargs)
        for name, value in [*self.hparams.items()]:
            if not (is_dataclass(value) or callable(value)):
                continue
            if plain := _as_plain_value(self.hparams.pop(name)):
                self.hparams[name] = plain
                self.hparams["_instantiator"] = "lightning.pytorch.cli.instantiate_module"

    @classmethod
    def load_from_checkpoint(
        cls, checkpoint_path: Any, *args: Any, trust: bool = False, **kwargs: Any
    ) -> Self:
        """Loads a checkpoint as Lightning does.

        Args:
            checkpoint_path: The file.
            *args: As for Lightning.
            trust: Import the classes that it names, also of an unknown author: see `runtime.trust`.
            **kwargs: As for Lightning.
        """
        guard: AbstractContextManager[None] = nullcontext()
        if not trust:
            checkpoint = torch.load(checkpoint_path, map_location="meta", weights_only=True)
            own = [f"{cls.__module__}.{cls.__qualname__}"]
            guard = only_trusted(hyperparameters(checkpoint), checkpoint_path, own)
        kwargs.setdefault("weights_only", True)
        with guard, corrected_init_args():
            return super().load_from_checkpoint(checkpoint_path, *args, **kwargs)

    def batch_rng(self, batch_idx: int) -> torch.Generator:
        """Returns a CPU generator for this training batch, the same on every rank and device."""
        seed = derive_seed(self.seed, self.current_epoch, batch_idx)
        return torch.Generator().manual_seed(seed)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seeds the global generators, which dropout and augmentation use, equally on all ranks.

        Random numbers are drawn for the global batch, and each rank takes its rows: see
        `draw_local`.
        """
        seed = derive_seed(self.seed, self.current_epoch, batch_idx, 0)
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(seed)  # `torch.manual_seed` asks every backend
        else:
            torch.manual_seed(seed)

    def setup(self, stage: str) -> None:
        """Resets the sums of an earlier run, before a checkpoint is loaded."""
        self._sums = {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds class, seed, and the sums of batches that are not logged yet, of all processes."""
        sums = {
            name: (all_gather_stacked(total).cpu(), count)
            for name, (total, count) in self._sums.items()
        }
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        checkpoint |= {"class_path": name, "seed": self.seed, "sums": sums}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self._trainer is not None:
            states = checkpoint.get("state_dict", {}), self.state_dict()
            here, there = ({name: value.shape for name, value in state.items()} for state in states)
            if here == there:  # otherwise Lightning raises an error
                self._compare_options(checkpoint)
        if self._trainer is None or self.trainer.state.fn != TrainerFn.FITTING:
            # Lightning has built callables, which have no plain form.
            for name, value in hyperparameters(checkpoint).items():
                self.hparams.setdefault(name, value)
        self.seed = checkpoint.get("seed", self.seed)
        for name, (totals, count) in checkpoint.get("sums", {}).items():
            self._sums[name] = local_part(totals).to(self.device), count

    def _compare_options(self, checkpoint: dict[str, Any]) -> None:
        """Warns of options that are not those of the checkpoint, and are used as they are now.

        Training refuses another optimizer, because the state and the rates of the old one are
        saved. Evaluation may have other data.
        """
        fits = self.trainer.state.fn == TrainerFn.FITTING
        changes = [*_changes(hyperparameters(checkpoint), self.hparams, "model")]
        if kept := [change for change in changes if fits and OPTIMIZER.match(change)]:
            raise UserError(
                "the run continues with the optimizer of its checkpoint "
                f"({'; '.join(kept)}): leave the option out, or start a new run "
                "from these weights with --init_from"
            )
        if fits and (data := cast(Any, self.trainer).datamodule):
            saved = checkpoint.get("datamodule_hyper_parameters", {})
            changes += _changes(saved, data.hparams, "data")
        if changes:
            rank_zero_warn(f"The checkpoint was trained with {'; '.join(changes)}.")

    def class_counts(self, option: str) -> Tensor:
        """Returns the examples of each class (K,) in an epoch, which an option of the model needs.

        Raises:
            UserError: The data do not tell them.
        """
        counts = getattr(cast(Any, self.trainer).datamodule, "class_counts", None)
        if counts is None:
            raise UserError(
                f"model.{option} needs the number of examples of each class, and these data have "
                "no class_counts: leave it out"
            )
        return cast(Tensor, counts)

    @property
    def trained_networks(self) -> list[nn.Module]:
        """The networks that training calls, for `compile`."""
        return []

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compiles the trained networks by `torch.compile`, for training alone.

        `nn.Module.compile` would not reach into a `Sequential`, and compile again to evaluate.
        """
        for network in self.trained_networks:
            fast = torch.compile(network.forward, *args, **kwargs)
            # Torch's own place for it is in no checkpoint and in no copy.
            network._compiled_call_impl = lambda *given, net=network, fast=fast: (
                fast(*given) if net.training else net._call_impl(*given)
            )

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return self.evaluate(batch, batch_idx, "val")

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        return self.evaluate(batch, batch_idx, "test")

    def evaluate(self, batch: Any, batch_idx: int, stage: str) -> Any:
        """Does nothing with a batch of the stage "val" or "test". A subclass may log metrics."""

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Clears gradients like `optimizer.zero_grad()`, without 30 us for torch's profiler."""
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def log_means(self, values: dict[str, Tensor]) -> None:
        """Logs the means of scalars over the batches after the last logging step.

        Call it once a batch. `self.log` takes about 350 us per key and call. Here a batch takes one
        addition per key, on the device, and only logging steps call Lightning. A key may be absent
        from a batch.
        """
        self.losses = {name: value for name, value in values.items() if name.endswith("loss")}
        for name, value in values.items():
            total, count = self._sums.get(name, (torch.zeros_like(value), 0))
            self._sums[name] = (total + value, count + 1)
        if is_logging_step(self.trainer):
            means = {f"train/{name}": total / n for name, (total, n) in self._sums.items()}
            self.log_dict(means, prog_bar=True, sync_dist=True)
            self._sums = {}

    def log_means_of_examples(self, values: dict[str, Tensor], count: int) -> None:
        """Logs means over all examples of an evaluation, from those over a batch's `count`.

        Lightning divides the number of examples by the number of processes and drops the remainder,
        so this passes a multiple.
        """
        self.log_dict(values, batch_size=count * self.trainer.world_size, sync_dist=True)


def _changes(old: Any, new: Any, name: str) -> Iterator[str]:
    """Yields each option that both have and that differs, with its old and its new value."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        same_class = old.get("class_path") == new.get("class_path")
        for key in [key for key in old if key in new and (same_class or key == "class_path")]:
            inner = key in ("class_path", "_class_path", "init_args")
            yield from _changes(old[key], new[key], name if inner else f"{name}.{key}")
        return
    old, new = ([*value] if isinstance(value, tuple) else value for value in (old, new))
    if repr(old) != repr(new) and old != new:  # the first also for NaN and tensors
        yield printable(f"{name} {old}, not {new}")


def _as_plain_value(value: Any) -> dict[str, Any] | None:
    """Returns options as a mapping, a class or a partial of one as `class_path` and `init_args`.

    None: the value has no plain form.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    cls, init_args = (value.func, value.keywords) if isinstance(value, partial) else (value, {})
    if not isinstance(cls, type) or "<" in cls.__qualname__:  # "<locals>" cannot be imported
        return None
    return {"class_path": f"{cls.__module__}.{cls.__qualname__}", "init_args": dict(init_args)}
