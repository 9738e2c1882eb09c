"""Run folders that version 0.1 wrote are tested, sampled from and resumed."""

import shutil
from pathlib import Path

import pytest
import torch

import cli
from models import ConditionalGAN
from tests.conftest import ROOT

pytestmark = pytest.mark.filterwarnings("ignore:The dirpath has changed")  # these are copies
OLD = sorted(path.name for path in (ROOT / "tests" / "fixtures").iterdir())


@pytest.fixture
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the run folder; `resumed.pt` holds its weights after 8 steps of version 0.1."""
    source = ROOT / "tests" / "fixtures" / request.param
    return Path(shutil.copytree(source, tmp_path / request.param / "version_0", symlinks=True))


@pytest.mark.parametrize("old", OLD, indirect=True)
def test_a_run_goes_on_as_it_would_have(old: Path) -> None:
    root = f"--trainer.default_root_dir={old.parent.parent}"
    cli.main(["fit", f"--ckpt_path={old}", "--trainer.max_steps=8", root])
    (new,) = (old / "checkpoints").glob("*step=0000008.ckpt")
    weights = torch.load(new, weights_only=True)["state_dict"]
    expected = torch.load(old / "resumed.pt", weights_only=True)
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("old", OLD, indirect=True)
def test_a_run_is_tested(old: Path) -> None:
    cli.main(["test", f"--ckpt_path={old}", "--quality.final_samples=0"])
    assert (old / "metrics.json").is_file() or "cgan" in str(old)


@pytest.mark.parametrize("old", ["cgan"], indirect=True)
def test_a_gan_is_sampled_from(old: Path, tmp_path: Path) -> None:
    cli.main(["sample", f"--ckpt_path={old}", "--count=20", f"--out={tmp_path}/out"])
    assert (tmp_path / "out" / "samples.npz").is_file()


@pytest.mark.parametrize("old", ["cgan"], indirect=True)
def test_an_old_checkpoint_loads_in_python(old: Path) -> None:
    model = ConditionalGAN.load_from_checkpoint(old / "checkpoints" / "last.ckpt")
    assert model.discriminator.class_weight == 0.1
    assert model.image_shape == (1, 28, 28)
