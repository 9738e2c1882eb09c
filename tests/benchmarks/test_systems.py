"""The contenders of the speed comparison, and a pace that the parent sets."""

from pathlib import Path

import pytest
import torch

from benchmarks.__main__ import parser
from benchmarks.systems import SYSTEMS, Setting, contenders_of, torchvision_mnist
from benchmarks.worker import Worker
from tests.conftest import ROOT


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(1, tmp_path, tmp_path, keras=tmp_path / "no python")


def test_without_keras_the_others_are_compared(setting: Setting) -> None:
    assert [*contenders_of(setting, "cgan", softmax=False)] == ["plain PyTorch", "Ladder"]
    assert [*contenders_of(setting, "cnn", softmax=False)] == ["Ladder", "Ladder, bf16"]


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_names_files_that_exist(name: str) -> None:
    assert (ROOT / f"configs/lecture/{SYSTEMS[name].config}.yaml").is_file()
    assert (ROOT / "benchmarks" / SYSTEMS[name].keras).is_file()


def test_the_peer_of_the_data_path_has_the_same_images() -> None:
    pixels = torch.randint(256, (4, 1, 28, 28), dtype=torch.uint8)
    image, label = torchvision_mnist(pixels, torch.arange(4))[2]
    assert torch.equal(image, pixels[2] / 255)
    assert label == 2


@pytest.mark.slow
def test_a_fit_takes_the_steps_that_are_asked_for(setting: Setting, tmp_path: Path) -> None:
    command = setting.fit("lecture/iris", "--trainer.max_epochs", "100", callback="Paced")
    worker = Worker("iris", command, tmp_path)
    assert 0 < worker.run(30) < 0.5
    worker.close()


def test_help_needs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args(["--help"])
    assert stopped.value.code == 0
    assert "--data-dir" in capsys.readouterr().out
