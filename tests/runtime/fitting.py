"""A short run of any Trainer on iris, for tests that compare Lightning's Trainer with ours."""

from typing import Any

from lightning import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint

from datamodules import Iris


def fit(kind: type[Trainer], model: Any, *callbacks: Callback, **kwargs: Any) -> Trainer:
    options = {
        "max_steps": 3, "limit_val_batches": 0, "accelerator": "cpu", "logger": False,
        "enable_checkpointing": any(isinstance(c, Checkpoint) for c in callbacks),
        "enable_progress_bar": False, "enable_model_summary": False, "precision": "32-true",
    } | kwargs  # fmt: skip
    path = options.pop("ckpt_path", None)
    trainer = kind(callbacks=list(callbacks), **options)
    trainer.fit(model, datamodule=Iris(batch_size=1, val_fraction=0.1), ckpt_path=path)
    return trainer
