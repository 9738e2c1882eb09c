"""An experiment's name from the command line."""

from pathlib import Path

import pytest

from commands.arguments import experiment_name


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ("configs/cgan.yaml", "cgan"),
        ("configs/lecture/gan.yaml", "lecture-gan"),
        ("/elsewhere/mine.yaml", "mine"),
        ("runs/tiny/version_3/config.yaml", "tiny"),
    ],
)
def test_an_experiment_is_named_after_its_config(config: str, name: str) -> None:
    files = [Path("configs/trainer/cpu.yaml"), Path(config)]
    assert experiment_name(files, "models.GAN") == name


def test_an_experiment_without_a_config_is_named_after_its_model() -> None:
    assert experiment_name([], "models.cgan.ConditionalGAN") == "conditionalgan"
