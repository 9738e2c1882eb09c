"""Run folders of the oldest formats are tested, sampled from and resumed as they were then.

`first_cgan` is a run of the project's first commit (e396343; resumed by the next one, cb18b4f,
because the first could not). `first_conv` is a run of the first commit with classifiers (f66c176),
whose convolutional network was not yet residual. The others are of the last commits of version 0.1.
`outputs.pt` holds what that code computed, `resumed.pt` its weights after 8 steps.
"""

import math
import shutil
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn.functional import interpolate

import cli
import ladder
from datamodules.base import Split
from models import ConditionalGAN
from tests.conftest import ROOT
from tests.test_cli import fails

pytestmark = pytest.mark.filterwarnings("ignore:The dirpath has changed")  # these are copies
# Batch norm removes this bias. Its gradient is rounding alone, which Adam scales to a step.
WITHOUT_EFFECT = ("generator.4.bias", "generator.5.running_mean")
WITHOUT_EFFECT += tuple(name.replace("generator", "ema.network") for name in WITHOUT_EFFECT)
OLD = sorted(path.name for path in (ROOT / "tests" / "fixtures").iterdir())


@pytest.fixture
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a run folder."""
    source = ROOT / "tests" / "fixtures" / request.param
    return Path(shutil.copytree(source, tmp_path / request.param / "version_0", symlinks=True))


def blurred_digits() -> tuple[Split, Split]:
    """The small digits as version 0.1 resized them."""
    digits = load_digits()
    small = torch.from_numpy(digits.images).float().unsqueeze(1) * (255 / 16)
    images = interpolate(small, (28, 28), mode="bilinear").round().to(torch.uint8)
    labels = torch.from_numpy(digits.target).long()
    train, test, train_labels, test_labels = train_test_split(
        images, labels, test_size=0.2, random_state=0, stratify=digits.target
    )
    return Split(train, train_labels), Split(test, test_labels)


@pytest.mark.parametrize("old", ["cgan"], indirect=True)
def test_a_run_on_the_blurred_digits_does_not_go_on_with_others(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(capsys, "fit", f"--ckpt_path={old}", "--trainer.max_steps=8")
    assert "trained with data.dataset 'digits', this run has" in line


@pytest.mark.parametrize("old", OLD, indirect=True)
def test_a_run_goes_on_as_it_would_have(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datamodules.images.load_digits", blurred_digits)
    monkeypatch.setattr("datamodules.images.IDENTITIES", {})
    root = f"--trainer.default_root_dir={old.parent.parent}"
    cli.main(["fit", f"--ckpt_path={old}", "--trainer.max_steps=8", root])
    (new,) = (old / "checkpoints").glob("*step=0000008.ckpt")
    weights = torch.load(new, weights_only=True)["state_dict"]
    expected = torch.load(old / "resumed.pt", weights_only=True)
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        atol = 1e-2 if name.endswith(WITHOUT_EFFECT) else 1e-5
        torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=atol)


@pytest.mark.parametrize("old", OLD, indirect=True)
def test_a_model_computes_what_it_did(old: Path) -> None:
    model = ladder.load(old)
    expected = torch.load(old / "outputs.pt", weights_only=True)
    with torch.no_grad():
        if "images" in expected:
            latents = torch.linspace(-2, 2, 10 * model.latent_dim).reshape(10, -1)
            images = model(latents, torch.arange(10))
            found = {"images": images[::3], "realness": model.realness(images, torch.arange(10))}
        else:
            shape = (10, *model.input_shape)
            found = {"logits": model(torch.linspace(-1, 1, math.prod(shape)).reshape(shape))}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert value.std() > 1e-4, name  # a constant would prove nothing
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-6)


@pytest.mark.parametrize("old", OLD, indirect=True)
def test_a_run_is_tested(old: Path) -> None:
    cli.main(["test", f"--ckpt_path={old}", "--quality.final_samples=0"])
    assert (old / "metrics.json").is_file() or "cgan" in str(old)


@pytest.mark.parametrize("old", ["cgan", "first_cgan"], indirect=True)
def test_a_gan_is_sampled_from(old: Path, tmp_path: Path) -> None:
    cli.main(["sample", f"--ckpt_path={old}", "--count=20", f"--out={tmp_path}/out"])
    assert (tmp_path / "out" / "samples.npz").is_file()


@pytest.mark.parametrize("old", ["cgan"], indirect=True)
def test_an_old_checkpoint_loads_in_python(old: Path) -> None:
    model = ConditionalGAN.load_from_checkpoint(old / "checkpoints" / "last.ckpt")
    assert model.discriminator.class_weight == 0.1
    assert model.image_shape == (1, 28, 28)
