"""Small trained runs for the tests of commands, each trained once."""

from pathlib import Path

import pytest

import cli
from tests.models.gans import WIDTH_2

DIGITS = ["--data=Images", "--data.dataset=digits", "--data.batch_size=32"]
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
SHORT = ["--trainer.max_steps=2", "--trainer.limit_val_batches=0"]
NETWORK = ["--model.network=ResidualConvNet", "--model.network.width=2"]


def train(root: Path, model: str, *args: str) -> Path:
    """Trains a small model for a few steps and returns the run's folder."""
    cli.main(["fit", f"--model={model}", *args, *DIGITS, *SHORT, *QUIET,
              f"--trainer.default_root_dir={root}", "--quality.final_samples=0"])  # fmt: skip
    return root / model.lower() / "version_0"


@pytest.fixture(scope="session")
def cgan(tmp_path_factory):
    steps = ["--samples.min_steps=0", "--trainer.log_every_n_steps=1"]
    return train(tmp_path_factory.mktemp("runs"), "ConditionalGAN", *WIDTH_2, *steps)


@pytest.fixture(scope="session")
def gan(tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs"), "GAN", *WIDTH_2)


@pytest.fixture(scope="session")
def classifier(tmp_path_factory):
    flags = [*NETWORK, "--model.average.decay=0.5", "--trainer.log_every_n_steps=1"]
    return train(tmp_path_factory.mktemp("runs"), "ImageClassifier", *flags)


@pytest.fixture(scope="session")
def iris(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    cli.main(["fit", "--model=IrisMLP", "--data=Iris", "--trainer.max_steps=3", *QUIET,
              "--trainer.log_every_n_steps=1", f"--trainer.default_root_dir={root}"])  # fmt: skip
    return root / "irismlp" / "version_0"
