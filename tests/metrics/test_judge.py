"""The shipped judges are the recorded ones, and know their classes and their images' shape."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.judges import export_judge, save_judge
from callbacks.judges import find_judge
from datamodules.digits import load_digits
from metrics import judge
from metrics.judge import JudgeNetwork, judge_of_checkpoint, load_judge, recipes, sha256
from runtime.errors import UserError
from runtime.files import write_json
from tests.results.recorded import result

NAMES = sorted(path.stem for path in judge.WEIGHTS.glob("*.npz"))


@pytest.mark.parametrize("name", NAMES)
def test_a_judge_is_small_and_as_recorded(name):
    path = judge.WEIGHTS / f"{name}.npz"
    assert path.stat().st_size < 1e6
    assert recipes()[name]["sha256"] == sha256(path)
    assert (Path(__file__).parents[2] / recipes()[name]["recipe"]).is_file()


def test_the_judge_of_digits_knows_them():
    images, labels = load_digits()[1]
    _, seen = load_judge("digits").judge(images)
    assert (seen == labels).double().mean() > 0.99


@pytest.fixture
def own_weights(tmp_path, monkeypatch):
    """An empty folder instead of `metrics/weights/`."""
    monkeypatch.setattr(judge, "WEIGHTS", tmp_path)
    monkeypatch.setattr(judge, "RECIPES", tmp_path / "judges.json")
    return tmp_path


@pytest.mark.parametrize(
    ("shape", "num_classes", "sizes"),
    [((1, 28, 28), 10, {}), ((3, 3, 7), 4, {"width": 2, "num_features": 5})],
)
def test_what_is_saved_is_what_is_loaded(own_weights, shape, num_classes, sizes):
    saved = JudgeNetwork(shape, num_classes, **sizes)
    save_judge(saved, "mine", {"recipe": "none"})
    images = torch.randint(256, (4, *shape), dtype=torch.uint8)
    loaded = load_judge("mine")
    with torch.autocast("cpu", torch.bfloat16):  # a run's precision does not count
        features, classes = loaded.judge(images)
    assert features.shape == (4, sizes.get("num_features", 64))
    assert (loaded.image_shape, loaded.num_classes) == (shape, num_classes)
    expected = saved.eval().trunk(images.float() / 255)
    torch.testing.assert_close(features, expected.detach())
    assert torch.equal(classes, saved.classes(expected).argmax(dim=1))
    first = sha256(own_weights / "mine.npz")
    save_judge(saved, "mine", {"recipe": "none"})
    assert sha256(own_weights / "mine.npz") == first  # the file holds no date
    assert sorted(path.name for path in own_weights.iterdir()) == ["judges.json", "mine.npz"]


def test_weights_and_their_order_are_those_of_the_plain_layers():
    """The shipped files, and seeds, stay valid as long as names, order and values are these."""
    torch.manual_seed(0)
    state = JudgeNetwork((1, 28, 28), 10, width=2, num_features=3).state_dict()
    torch.manual_seed(0)
    sizes = [(1, 2, 5), (2, 4, 3), (4, 4, 3), (4, 8, 3), (8, 3, 3)]
    for place, (fan_in, out, kernel) in zip((0, 3, 6, 10, 13), sizes, strict=True):
        plain = torch.nn.Conv2d(fan_in, out, kernel, bias=False)
        assert torch.equal(state[f"trunk.{place}.weight"], plain.weight)
        assert state[f"trunk.{place + 1}.running_mean"].shape == (out,)
    assert torch.equal(state["classes.weight"], torch.nn.Linear(3, 10).weight)
    with np.load(judge.WEIGHTS / "digits.npz") as arrays:
        assert [*state, "image_shape"] == arrays.files


def test_images_of_another_shape_are_refused_in_one_line():
    network = JudgeNetwork((3, 8, 8), 2)
    with pytest.raises(ValueError, match=r"shape \(3, 8, 8\) .* \(1, 8, 8\): train a judge"):
        network.judge(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match="needs images of 3 x 3 or more, not 2 x 9"):
        JudgeNetwork((1, 2, 9), 2)


def test_a_name_without_weights_is_refused():
    with pytest.raises(
        ValueError, match="no judge 'yours': use pretrained, one of digits, fashion"
    ):
        load_judge("yours")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def zeros(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:3000] + bytes(200) + content[3200:])


def other_weights(path: Path) -> None:
    np.savez(path, x=np.zeros(3))


@pytest.mark.parametrize("damage", [cut, zeros, other_weights, Path.unlink])
def test_a_damaged_judge_is_one_line(damage, own_weights):
    save_judge(JudgeNetwork((1, 28, 28), 2), "mine", {})
    damage(own_weights / "mine.npz")
    with pytest.raises(UserError, match=r"^quality.judge: .*mine.npz is missing or damaged: put"):
        find_judge("mine")


@pytest.mark.parametrize("shape", [None, 3, [1, 28], ["a", "b", "c"], [1, 2, 2]])
def test_a_checkpoint_with_a_shape_that_is_none_is_no_judge(shape):
    state = {f"network.{k}": v for k, v in JudgeNetwork((1, 28, 28), 2).state_dict().items()}
    checkpoint = {"state_dict": state, "hyper_parameters": {"input_shape": shape}}
    assert judge_of_checkpoint(checkpoint) is None
    state["network.trunk.0.weight"] = torch.zeros(())
    assert judge_of_checkpoint({"state_dict": state}) is None


def test_a_tested_run_is_exported(own_weights):
    """The averaged weights count; the run's hyperparameters name the shape of its images."""
    network, run = JudgeNetwork((3, 8, 8), 4, width=2), own_weights / "run"
    (run / "checkpoints").mkdir(parents=True)
    weights = {f"ema.network.{key}": value for key, value in network.state_dict().items()}
    weights["network.classes.bias"] = torch.zeros(4)
    checkpoint = {"hyper_parameters": {"input_shape": [3, 8, 8]}, "seed": 5, "global_step": 7}
    state = checkpoint | {"state_dict": weights}
    torch.save(state, run / "checkpoints" / "last.ckpt")
    write_json(run / "metrics.json", {"test": [result({"accuracy": 0.9}, examples=40)]})
    export_judge(run, "mine")
    images = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
    torch.testing.assert_close(load_judge("mine").judge(images)[0], network.eval().judge(images)[0])
    found = recipes()["mine"]
    assert (found["test_accuracy"], found["seed"], found["steps"]) == (0.9, 5, 7)
    assert torch.__version__.startswith(found["torch"] or "none")
    export_judge(run, "other")
    assert set(recipes()) == {"mine", "other"}
    assert not any(part.training for part in judge_of_checkpoint(state).modules())
    torch.save(checkpoint | {"state_dict": {}}, run / "checkpoints" / "last.ckpt")
    with pytest.raises(SystemExit, match=r"is not a tested run of configs/judge/mine\.yaml"):
        export_judge(run, "mine")
