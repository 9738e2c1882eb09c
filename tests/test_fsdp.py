"""FSDP trains a classifier as one device does. On a CPU Lightning refuses it."""

import pytest
import torch
from lightning import Trainer

from datamodules import Images
from tests.models.classifiers import dense
from tests.models.gans import sgd


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_fsdp_trains_a_classifier_as_one_device_does():
    losses = []
    for strategy in ("auto", "fsdp"):
        torch.manual_seed(0)
        trainer = Trainer(
            max_steps=8, accelerator="gpu", devices=1, strategy=strategy, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            limit_val_batches=0, log_every_n_steps=1,
        )  # fmt: skip
        trainer.fit(dense(optimizer=sgd()), datamodule=Images(dataset="digits", batch_size=32))
        losses.append(trainer.callback_metrics["train/loss"].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
