"""A classifier's run is a function of its config and its seed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer, seed_everything

from datamodules import Images
from models import ImageClassifier
from models.averaging import Averaging
from models.schedule import Schedule
from runtime.trainer import LadderTrainer
from tests.models.classifiers import convnet, dense, fit, trainer


class SaveAt(Callback):
    """Saves a checkpoint after some step."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: Trainer, *rest: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def augmented(**kwargs: Any) -> ImageClassifier:
    return convnet(
        width=2, dropout=0.2, shift=2, rotation=10, erase=4, average=Averaging(0.9),
        schedule=Schedule("cosine", warmup=0.2), label_smoothing=0.1, **kwargs,
    )  # fmt: skip


def run(seed: int, path: Path, *callbacks: Callback, ckpt_path: Path | None = None) -> None:
    seed_everything(seed, verbose=False)
    options = {"max_epochs": 2, "limit_train_batches": 6, "limit_val_batches": 1}
    made = trainer(*callbacks, kind=LadderTrainer, precision="32-true", **options)
    data = Images(dataset="digits", batch_size=64, val_fraction=0.1)
    made.fit(augmented(), datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    made.save_checkpoint(path)


@pytest.mark.parametrize("stop_at", [4, 6, 9])
def test_resume_is_bit_exact_within_and_between_epochs(
    tmp_path: Path, weights_hash: Callable[[Path], str], stop_at: int
) -> None:
    whole, part, resumed = (tmp_path / f"{name}.ckpt" for name in ("whole", "part", "resumed"))
    run(0, whole, SaveAt(stop_at, part))
    assert weights_hash(part) != weights_hash(whole)
    run(1, resumed, ckpt_path=part)  # the checkpoint's seed counts, not this one
    assert weights_hash(resumed) == weights_hash(whole)


def test_checkpoint_loads_without_the_command_line(tmp_path: Path) -> None:
    model = dense([5], "tanh", shift=1.0)
    made = fit(model, Images(dataset="digits"), max_steps=1)
    made.save_checkpoint(tmp_path / "model.ckpt")
    loaded = ImageClassifier.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    images = torch.rand(2, 1, 28, 28)
    assert torch.equal(loaded.eval()(images), model.eval()(images))
    assert loaded.hparams.network["init_args"] == {"hidden": [5], "activation": "tanh"}
