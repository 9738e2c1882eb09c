"""The judges that are shipped are those that are recorded, and know their classes."""

from pathlib import Path

import pytest
import torch

from datamodules.sources import load_digits
from metrics import judge
from metrics.gan_train import gan_train_accuracy
from metrics.judge import JudgeNetwork, load_judge, recipes, save_judge, sha256

NAMES = sorted(path.stem for path in judge.WEIGHTS.glob("*.npz"))


@pytest.mark.parametrize("name", NAMES)
def test_a_judge_is_small_and_as_recorded(name: str) -> None:
    path = judge.WEIGHTS / f"{name}.npz"
    assert path.stat().st_size < 1e6
    assert recipes()[name]["sha256"] == sha256(path)
    assert (Path(__file__).parents[2] / recipes()[name]["recipe"]).is_file()


def test_the_judge_of_digits_knows_them() -> None:
    images, labels = load_digits()[1]
    _, seen = load_judge("digits").judge(images)
    assert (seen == labels).double().mean() > 0.99


def test_what_is_saved_is_what_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "WEIGHTS", tmp_path)
    monkeypatch.setattr(judge, "RECIPES", tmp_path / "judges.json")
    saved = JudgeNetwork()
    save_judge(saved, "mine", {"recipe": "none"})
    images = torch.randint(256, (4, 1, 28, 28), dtype=torch.uint8)
    features, classes = load_judge("mine").judge(images)
    assert features.shape == (4, 64)
    torch.testing.assert_close(features, saved.eval().judge(images)[0])
    assert classes.shape == (4,)
    first = sha256(tmp_path / "mine.npz")
    save_judge(saved, "mine", {"recipe": "none"})
    assert sha256(tmp_path / "mine.npz") == first  # the file holds no date


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "WEIGHTS", tmp_path)
    monkeypatch.setattr(judge, "RECIPES", tmp_path / "judges.json")
    path = save_judge(JudgeNetwork(), "mine", {})
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ValueError, match=r"has SHA-256 .* restore it"):
        load_judge("mine")


def test_only_known_data_sets_have_a_judge() -> None:
    assert judge.judge_of("digits") == "digits"
    assert judge.judge_of("kmnist") is None
    assert judge.judge_of(None) is None


def test_a_classifier_of_real_digits_learns_and_of_shuffled_ones_does_not() -> None:
    (images, labels), (test_images, test_labels) = load_digits()
    images, labels = images[:600], labels[:600]
    state = torch.get_rng_state()
    real = gan_train_accuracy(images, labels, test_images, test_labels, steps=60)
    again = gan_train_accuracy(images, labels, test_images, test_labels, steps=60)
    shuffled = gan_train_accuracy(images, labels.roll(1), test_images, test_labels, steps=60)
    assert real == again > 0.9
    assert shuffled < 0.3
    assert torch.equal(torch.get_rng_state(), state)
