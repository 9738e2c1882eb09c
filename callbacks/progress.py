"""Progress of a run, and of long work between its batches, in the terminal."""

import math
import sys
import time
from collections.abc import Iterable
from typing import Any, TypeVar

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

STEPS_PER_LINE, LINES = 50, 10  # If the output is not a terminal; short runs get ten lines.
TIMED_BATCHES = 20  # first batches, from which the duration of a run is estimated
SHORT, LONG = 60, 600  # seconds: from SHORT on the duration is printed, from LONG on a remedy
METRICS_SHOWN = 2  # metrics in a bar, so that it fits into 80 characters
LINE = "Step {n:,} of {total:,} ({percentage:.0f}%), {elapsed} elapsed, {remaining} left{postfix}"
LINE_WITHOUT_END = "Step {n:,}, {elapsed} elapsed{postfix}"

T = TypeVar("T")


class Progress(TQDMProgressBar):
    """Steps done of the whole run and the time left, over all epochs.

    A run prints its length in steps and epochs, and after the first steps, if it takes more than a
    minute, its estimated duration.

    A terminal gets one line, which is updated. Other outputs, such as a log file or a notebook, get
    a plain line after every fifty batches, or after each tenth of a shorter run. `validate`, `test`
    and `predict` show a bar in a terminal only.
    """

    @property
    def is_enabled(self) -> bool:
        return super().is_enabled and sys.stdout.isatty()

    @property
    def train_description(self) -> str:
        return ""  # leaves more room for the losses

    def init_sanity_tqdm(self) -> Tqdm:
        return Tqdm(disable=True)

    def init_validation_tqdm(self) -> Tqdm:
        hidden = self.trainer.state.fn == "fit"
        return Tqdm(disable=True) if hidden else super().init_validation_tqdm()

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Returns the newest metrics, and first the losses of training, as any module logs them."""
        logged = trainer.callback_metrics.items()
        losses = {k: float(v) for k, v in logged if "loss" in k and not k.startswith("val")}
        metrics = {**losses, **trainer.progress_bar_metrics}.items()
        return {k.removeprefix("train/"): f"{float(f'{v:.3g}'):,.10g}" for k, v in metrics}

    def on_train_start(self, trainer: Trainer, *_: Any) -> None:
        total, batches = total_steps(trainer), trainer.num_training_batches
        if total and math.isfinite(batches) and super().is_enabled:
            epochs = f"epochs: {round(total / batches, 1):,g}, steps per epoch: {batches:,}"
            Tqdm.write(f"Trains {total:,} steps ({epochs}).")
        super().on_train_start()
        bar, self._start = self.train_progress_bar, time.perf_counter()
        bar.reset(total)
        bar.initial = bar.n = steps_until(trainer)

    def on_train_epoch_start(self, *_: Any, **__: Any) -> None:
        """Does nothing: the bar continues over epochs, and a redraw takes half a millisecond."""

    on_train_epoch_end = on_train_epoch_start

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        bar, before, now = self.train_progress_bar, self.train_progress_bar.n, steps_until(trainer)
        if before == bar.initial:
            self._timed = time.perf_counter(), now
        elif now - self._timed[1] == TIMED_BATCHES and bar.total and super().is_enabled:
            self._tell_length(trainer, bar.total - now)
        if bar.disable:
            every = max(1, min(STEPS_PER_LINE, (bar.total or math.inf) / LINES))
            bar.n, due = now, now // every > before // every or before < now == bar.total
            if due and super().is_enabled:
                self._print_line(self.get_metrics(trainer, pl_module))
        elif bar.update(now - before) or now == bar.total:
            bar.set_postfix([*self.get_metrics(trainer, pl_module).items()][:METRICS_SHOWN])
            if now == bar.total:
                bar.close()  # Lightning's closing message then gets its own line.

    def _tell_length(self, trainer: Trainer, batches: int) -> None:
        each = (time.perf_counter() - self._timed[0]) / TIMED_BATCHES
        if (seconds := batches * each) < SHORT:
            return
        beside = ", without validation and scores" if trainer.enable_validation else ""
        text = (
            f"Will take about {seconds / 60:.0f} min: {batches:,} batches of {each:.2g} s{beside}."
        )
        if seconds > LONG:
            steps = int(LONG / each / trainer.accumulate_grad_batches)
            unit = 10 ** (len(str(steps)) - 1)
            text += (
                f" --trainer.max_steps {steps // unit * unit} would take less than {LONG // 60}, "
                "at some loss of quality. Ctrl-C saves the run, and --ckpt_path last continues it."
            )
        Tqdm.write(text)

    def _print_line(self, metrics: dict[str, str]) -> None:
        bar, elapsed = self.train_progress_bar, time.perf_counter() - self._start
        layout = LINE if bar.total else LINE_WITHOUT_END
        postfix = ", ".join(f"{name} {value}" for name, value in metrics.items())
        options = {"bar_format": layout, "postfix": postfix, "initial": bar.initial}
        print(Tqdm.format_meter(bar.n, bar.total, elapsed, **options), flush=True)


def track(trainer: Trainer, items: Iterable[T], text: str, total: int | None = None) -> Iterable[T]:
    """Yields the items, and shows in a terminal the number done and the time left.

    Args:
        trainer: Its progress bar decides whether progress is shown.
        items: The items of a long computation.
        text: The name of the work.
        total: The number of items; None: their length.
    """
    bar = trainer.progress_bar_callback
    shown = isinstance(bar, Progress) and bar.is_enabled and trainer.is_global_zero
    return Tqdm(items, desc=text, total=total, leave=False, disable=not shown)


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
