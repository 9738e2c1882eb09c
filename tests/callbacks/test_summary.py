"""The summary of a model has no empty columns."""

from pathlib import Path

import pytest
from lightning.pytorch.utilities.model_summary import summarize

from callbacks.summary import Summary, table
from models import ConditionalGAN, GateLogistic
from models.averaging import Averaging
from tests.callbacks.runs import Small, digits, trainer
from tests.models.classifiers import convnet
from tests.models.gans import small


def test_parts_without_parameters_are_left_out() -> None:
    assert table(summarize(GateLogistic())).splitlines() == [
        "  Part     Type         Parameters  Input  Output",
        "  network  FeedForward  3           2      1",
        "  3 parameters",
    ]


def test_unknown_shapes_are_left_out() -> None:
    model = small(ConditionalGAN, average=Averaging(0.5))
    lines = table(summarize(model)).splitlines()
    assert lines[0].split() == ["Part", "Type", "Parameters"]
    assert [line.split()[0] for line in lines[1:-1]] == ["generator", "discriminator", "ema"]
    fixed = sum(p.numel() for p in model.ema.parameters())
    total = sum(p.numel() for p in model.parameters())
    assert lines[-1] == f"  {total:,} parameters, {fixed:,} of them not trained"


def test_shapes_of_images_are_without_the_batch() -> None:
    line = table(summarize(convnet())).splitlines()[1]
    assert line.endswith("  1 x 28 x 28  10")


def test_a_run_prints_it_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "lightning.pytorch.utilities.rank_zero"):
        trainer(tmp_path, Summary(), max_steps=1).fit(Small(), datamodule=digits())
    assert caplog.text.count("7,850 parameters") == 1
