"""A way to train classifiers for a few steps."""

from typing import Any

from lightning import Callback, LightningDataModule, LightningModule, Trainer


def trainer(*callbacks: Callback, **kwargs: Any) -> Trainer:
    defaults: dict[str, Any] = {"max_epochs": 1, "accelerator": "cpu", "logger": False}
    return Trainer(
        **(defaults | kwargs),
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def fit(
    model: LightningModule, data: LightningDataModule, *callbacks: Callback, **kwargs: Any
) -> Trainer:
    made = trainer(*callbacks, **kwargs)
    made.fit(model, datamodule=data)
    return made
