"""TensorBoard as a dashboard: curves side by side, and runs compared by their best scores."""

from collections.abc import Mapping
from inspect import signature
from pkgutil import resolve_name
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from callbacks.curves import panels_of
from callbacks.quality import Quality
from callbacks.results import data_of
from figures.pictures import tensorboard
from metrics import SCORES
from models.classifier import Classifier
from models.gan import GAN
from runtime.loggers import RunTensorBoardLogger

BETTER = {score.name: score.better for score in SCORES} | {
    "loss": "lower", "sup_error": "lower", "calibration_error": "lower", "accuracy": "higher",
}  # fmt: skip


class Dashboard(Callback):
    """Fills TensorBoard's pages "Custom Scalars" and "HParams".

    Custom Scalars has losses, accuracies, each quality score beside that of real images, and the
    speed. HParams has the seed and the settings of each run that are not defaults, beside its best
    validation scores, `best/<score>`, or else its last scores in training.
    """

    def __init__(self) -> None:
        self.best: dict[str, float] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        writer = tensorboard(trainer)
        if writer is None or trainer.ckpt_path:
            return
        scores = _scores(trainer, pl_module)
        writer.add_custom_scalars(layout(_logged(pl_module, scores)))
        settings = {"seed": pl_module.seed}
        for part in (pl_module, data_of(trainer)):
            settings |= settings_of(type(part), getattr(part, "hparams", {}))
        kind = "best" if trainer.enable_validation else "train"
        for logger in trainer.loggers:
            if isinstance(logger, RunTensorBoardLogger):
                logger.log_settings(settings, [f"{kind}/{name}" for name in scores])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        writer = tensorboard(trainer)
        for name in _scores(trainer, pl_module):
            if (found := trainer.callback_metrics.get(f"val/{name}")) is None:
                continue
            choose = min if BETTER[name] == "lower" else max
            self.best[name] = choose(float(found), self.best.get(name, float(found)))
            if writer is not None:
                writer.add_scalar(f"best/{name}", self.best[name], trainer.global_step)


def settings_of(kind: type, values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the init arguments of a class that are not its defaults, such as `optimizer.lr`."""
    bases = [base for base in reversed(kind.__mro__) if "__init__" in vars(base)]
    parameters = [p for base in bases for p in signature(base).parameters.items()]
    defaults = {name: parameter.default for name, parameter in parameters}
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and "class_path" in value:
            inner = resolve_name(value["class_path"])
            found[prefix + name] = inner.__name__
            found |= settings_of(inner, value.get("init_args", {}), f"{prefix}{name}.")
        elif not name.startswith("_") and _as_list(value) != _as_list(defaults.get(name, value)):
            found[prefix + name] = value if isinstance(value, int | float) else str(value)
    return found


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _scores(trainer: Trainer, model: LightningModule) -> list[str]:
    """Returns the validation scores of a run that are better if they are lower or higher."""
    if isinstance(model, GAN):
        callbacks = trainer.callbacks  # type: ignore[attr-defined]  # set by a connector
        found = [n for cb in callbacks if isinstance(cb, Quality) for n in cb.logged(model)]
        return [name for name in found if BETTER.get(name)]
    return ["accuracy", "loss"] if isinstance(model, Classifier) else ["loss"]


def _logged(model: LightningModule, scores: list[str]) -> list[str]:
    """Returns the names of the logged values that the dashboard shows."""
    if isinstance(model, GAN):
        names = ["d_loss", "g_loss", "acc_real", "acc_fake", "acc_class", "acc_generator"]
        real = [f"floor/{name}" for name in scores]
        return [f"train/{name}" for name in names] + [f"val/{name}" for name in scores] + real
    return [f"{stage}/{name}" for name in scores for stage in ("train", "val")]


def layout(names: list[str]) -> dict[str, dict[str, list[Any]]]:
    """Returns the layout of custom scalars: the panels of `curves.png`, and the speed."""
    panels = {panel: ["Multiline", tags] for panel, tags in panels_of(names).items()}
    return {"Run": panels | {"examples per second": ["Multiline", ["train/examples_per_s"]]}}
