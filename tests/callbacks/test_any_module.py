"""A LightningModule from elsewhere trains with all default callbacks, on a plain DataLoader."""

import math
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import Tensor

from callbacks import DEFAULT_CALLBACKS, Evaluation, Progress
from runtime.files import read_json
from runtime.loggers import RunCSVLogger
from runtime.trainer import LadderTrainer
from tests.callbacks.runs import pictures, trainer


class Boring(BoringModel):
    """A model that logs losses in its own way, and knows none of this project's contracts.

    Attributes that this project's models have too mean something else here.
    """

    losses = [math.nan]
    input_shape, num_classes, probabilities, encodes = (32,), 2, None, True
    image_shape, latent_dim, draw_latents, eval_network = (1, 8, 8), 4, None, None

    def training_step(self, batch: Tensor, batch_idx: int) -> dict[str, Tensor]:
        loss = self.loss(self.layer(batch))
        self.log("recon_loss", loss)
        return {"loss": loss}

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val_loss", self.loss(self.layer(batch)))

    def test_step(self, batch, batch_idx):
        self.log("test/loss", self.loss(self.layer(batch)))


def run_of(folder: Path, **options: Any) -> Any:
    callbacks = [make() for make in DEFAULT_CALLBACKS]
    callbacks += [Evaluation(), Progress()]
    run = trainer(
        folder, *callbacks, kind=LadderTrainer, enable_progress_bar=True, num_sanity_val_steps=0,
        logger=RunCSVLogger(folder / "run"), log_every_n_steps=None, **options,
    )  # fmt: skip
    return run


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*precision")
def test_any_module_trains_and_shows_its_losses(tmp_path, capsys):
    run, model = run_of(tmp_path, max_steps=20), Boring()
    run.fit(model)
    printed = capsys.readouterr().out
    assert "Step 20 of 20 (100%)" in printed
    assert "recon_loss " in printed
    assert pictures(tmp_path) == {"curves.png"}
    run.test(model, verbose=False)
    assert "Test\n  loss  " in capsys.readouterr().out
    assert [*read_json(tmp_path / "run" / "metrics.json")["test"][-1]["scores"]] == ["loss"]
