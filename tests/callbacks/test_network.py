"""A new run tells its networks, and a network that cannot be drawn does not end it."""

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.utilities.model_summary import summarize

from callbacks.network import NetworkFigure, table
from models import GAN, IrisMLP
from tests.callbacks.runs import pictures, trainer
from tests.models.gans import small


def test_the_summary_of_a_gan_has_its_three_networks() -> None:
    model = small(ema_decay=0.9)
    lines = [line.split() for line in table(summarize(model)).splitlines()]
    counts = {
        name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()
    }
    assert [line[0] for line in lines[:3]] == ["generator", "discriminator", "ema"]
    for name, _, count in lines[:3]:
        assert int(count.replace(",", "")) == counts[name]
    total = sum(counts.values())
    assert " ".join(lines[3]) == f"{total:,} parameters, {counts['ema']:,} of them not trained"


def test_a_new_run_draws_its_networks_once(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    NetworkFigure().on_fit_start(run, IrisMLP())
    assert pictures(tmp_path) == {"network.png"}
    assert (tmp_path / "run" / "figures" / "network.svg").is_file()
    again = trainer(tmp_path / "again")
    again.ckpt_path = "last.ckpt"
    NetworkFigure().on_fit_start(again, IrisMLP())
    assert not pictures(tmp_path / "again")


def test_a_generator_of_other_inputs_is_a_warning(tmp_path: Path) -> None:
    class Other(GAN):
        def forward(self, *_: Any, **__: Any) -> Any:
            raise TypeError("it needs a text")

    with pytest.warns(UserWarning, match="network.png was not drawn: TypeError: it needs a text"):
        NetworkFigure().on_fit_start(trainer(tmp_path), Other((1, 28, 28)))
