"""Progress of a run, and of long work between its batches, in the terminal; its speed."""

import io
import math
import sys
import time
from collections.abc import Iterable
from typing import Any, TypeVar

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from tqdm.std import tqdm

from models.base import is_logging_step

STEPS_PER_LINE, LINES = 50, 10  # If the output is not a terminal; short runs get ten lines.
NOTEBOOK_WIDTH = 90  # characters that fit beside a notebook's margin
LINE = "Step {n:,} of {total:,} ({percentage:.0f}%), {elapsed} elapsed, {remaining} left{postfix}"
LINE_WITHOUT_END = "Step {n:,}, {elapsed} elapsed{postfix}"

T = TypeVar("T")


class Progress(TQDMProgressBar):
    """Steps done of the whole run and the time left, over all epochs.

    A terminal and a notebook get one line, which is updated. Other outputs, such as a log file, get
    a plain line after every fifty batches, or after each tenth of a shorter run. `validate`, `test`
    and `predict` show a bar in a terminal only.
    """

    @property
    def is_enabled(self) -> bool:
        return super().is_enabled and (sys.stdout.isatty() or in_notebook())

    def init_train_tqdm(self) -> Any:
        if not (self.is_enabled and in_notebook()):
            return super().init_train_tqdm()
        # Lightning's could be a widget, which a notebook shows only as long as its kernel runs.
        options = {"smoothing": 0, "ascii": False, "bar_format": self.BAR_FORMAT}
        return tqdm(desc=self.train_description, file=CellLine(), ncols=NOTEBOOK_WIDTH, **options)

    def init_sanity_tqdm(self) -> Tqdm:
        return Tqdm(disable=True)

    def init_validation_tqdm(self) -> Tqdm:
        hidden = in_notebook() or self.trainer.state.fn == "fit"
        return Tqdm(disable=True) if hidden else super().init_validation_tqdm()

    def init_test_tqdm(self) -> Tqdm:
        return Tqdm(disable=True) if in_notebook() else super().init_test_tqdm()

    def init_predict_tqdm(self) -> Tqdm:
        return Tqdm(disable=True) if in_notebook() else super().init_predict_tqdm()

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        found = trainer.progress_bar_metrics.items()
        shown = {k: v for k, v in found if not in_notebook() or k.endswith("loss")}  # in its width
        return {k.removeprefix("train/"): f"{float(f'{v:.3g}'):,.10g}" for k, v in shown.items()}

    def on_train_start(self, trainer: Trainer, *_: Any) -> None:
        super().on_train_start()
        bar, self._start = self.train_progress_bar, time.perf_counter()
        bar.reset(total_steps(trainer))
        bar.initial = bar.n = steps_until(trainer)

    def on_train_epoch_start(self, *_: Any, **__: Any) -> None:
        """Does nothing: the bar continues over epochs, and a redraw takes half a millisecond."""

    on_train_epoch_end = on_train_epoch_start

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        bar, before, now = self.train_progress_bar, self.train_progress_bar.n, steps_until(trainer)
        if bar.disable:
            every = max(1, min(STEPS_PER_LINE, (bar.total or math.inf) / LINES))
            bar.n, due = now, now // every > before // every or before < now == bar.total
            if due and super().is_enabled:
                self._print_line(self.get_metrics(trainer, pl_module))
        elif bar.update(now - before) or now == bar.total:
            bar.set_postfix(self.get_metrics(trainer, pl_module))
            if now == bar.total:
                bar.close()  # Lightning's closing message then gets its own line.

    def _print_line(self, metrics: dict[str, str]) -> None:
        bar, elapsed = self.train_progress_bar, time.perf_counter() - self._start
        layout = LINE if bar.total else LINE_WITHOUT_END
        postfix = ", ".join(f"{name} {value}" for name, value in metrics.items())
        options = {"bar_format": layout, "postfix": postfix, "initial": bar.initial}
        print(Tqdm.format_meter(bar.n, bar.total, elapsed, **options), flush=True)


def watch(trainer: Trainer, items: Iterable[T], text: str, total: int | None = None) -> Iterable[T]:
    """Yields the items, and shows in a terminal how many are done and the time left.

    Args:
        trainer: Its progress bar says whether a terminal shows progress.
        items: The parts of some work that takes long.
        text: The name of the work.
        total: The number of items; None: their length.
    """
    bar = trainer.progress_bar_callback
    shown = isinstance(bar, Progress) and bar.is_enabled and not in_notebook()
    hidden = not (shown and trainer.is_global_zero)
    return Tqdm(items, desc=text, total=total, leave=False, disable=hidden)


class CellLine(io.StringIO):
    """Shows the newest line that is written to it in the output of a notebook's cell.

    It replaces the line before. Carriage returns would leave every line in a notebook that was
    executed without a browser.
    """

    def __init__(self) -> None:
        super().__init__()
        from IPython.display import display

        self._shown = display({"text/plain": ""}, raw=True, display_id=True)

    def write(self, text: str) -> int:
        if (line := text.strip()) and self._shown is not None:
            self._shown.update({"text/plain": line}, raw=True)
        return len(text)


def in_notebook() -> bool:
    """Returns whether the output is a cell of a notebook."""
    return type(sys.stdout).__module__.startswith("ipykernel")


def steps_until(trainer: Trainer, updates: int | None = None) -> int:
    """Returns the number of batches, several per update if Lightning accumulates gradients."""
    updates = trainer.global_step if updates is None else updates
    batches, window = trainer.num_training_batches, trainer.accumulate_grad_batches
    if math.isinf(batches):
        return updates * window
    epochs, rest = divmod(updates, math.ceil(batches / window))
    return epochs * int(batches) + rest * window


def total_steps(trainer: Trainer) -> int | None:
    """Returns the number of batches of the whole run; None if it has no known end."""
    updates = trainer.estimated_stepping_batches
    return None if updates in (-1, math.inf) else steps_until(trainer, int(updates))


class Speed(Callback):
    """Logs examples per second over all processes, for training alone."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._examples, self._seconds = 0, 0.0
        self._mark = time.perf_counter()  # A run resumed within an epoch has no epoch start.

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._mark = time.perf_counter()

    on_validation_end = on_train_epoch_start

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self._due = trainer.global_step + 1 if is_logging_step(trainer) else None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        before, self._mark = self._mark, time.perf_counter()
        self._seconds += self._mark - before
        self._examples += len(batch[0]) * trainer.world_size
        if trainer.global_step == self._due:  # Not while gradients accumulate.
            speed = self._examples / self._seconds
            pl_module.log("train/examples_per_s", speed, prog_bar=True)
            if trainer.world_size > 1:
                pl_module.log("train/examples_per_s_and_process", speed / trainer.world_size)
            self._examples, self._seconds = 0, 0.0
