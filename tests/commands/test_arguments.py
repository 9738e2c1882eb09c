"""Completing the command line: names of experiments, lists, former names of options."""

from pathlib import Path

import pytest
import yaml

from commands.arguments import experiment_name, given_files, normalized


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


def test_an_overlay_is_not_the_experiment() -> None:
    overlays = [Path("configs/logger/wandb.yaml"), Path("configs/trainer/cpu.yaml")]
    assert experiment_name([*overlays, Path("configs/gan.yaml")], "models.GAN") == "gan"
    assert experiment_name(overlays, "models.GAN") == "gan"


def test_files_are_found_among_arguments() -> None:
    args = ["fit", "--config", "a.yaml", "-c", "b.yaml", "--trainer.max_steps", "3"]
    assert given_files(args) == [Path("a.yaml"), Path("b.yaml")]
    assert given_files(["fit", "--config=c.yaml"]) == [Path("c.yaml")]
    for args in (["--config=lr=1.yaml"], ["--config", "lr=1.yaml"]):
        assert given_files(["fit", *args]) == [Path("lr=1.yaml")]
    assert given_files([]) == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("--classes 3 1 4 --count 5", "--classes [3,1,4] --count 5"),
        ("--digits 3 1 --between 3 8", "--classes [3,1] --between [3,8]"),
        ("--digits=3", "--classes [3]"),
        ("--digits=[3,1]", "--classes [3,1]"),
        ("--format=onnx torch", "--format [onnx,torch]"),
        ("--between [3,8] --count 5", "--between [3,8] --count 5"),
        ("--classes 3 -1", "--classes [3,-1]"),
        ("--format onnx torch -c a.yaml", "--format [onnx,torch] -c a.yaml"),
        ("--format [onnx] --count 5", "--format [onnx] --count 5"),
    ],
)
def test_lists_are_joined_and_former_names_replaced(given: str, expected: str) -> None:
    found = [yaml.safe_load(arg) for arg in normalized(["sample", *given.split()])]
    assert found == [yaml.safe_load(arg) for arg in ["sample", *expected.split()]]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            ["--files", "a.png", "b, c.png", "--out", "x"],
            ["--files", '["a.png", "b, c.png"]', "--out", "x"],
        ),
        (["--files=a.png", "1"], ["--files", '["a.png", "1"]']),
        (["--files", '["a.png"]', "[1].png"], ["--files", '["a.png", "[1].png"]']),
    ],
)
def test_names_of_files_are_joined_with_any_letters(given: list[str], expected: list[str]) -> None:
    assert normalized(["predict", *given]) == ["predict", *expected]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("--gif", "--gif=true"),
        ("--gif --count 3", "--gif=true --count 3"),
        ("--gif false --count 3", "--gif false --count 3"),
    ],
)
def test_a_flag_needs_no_value(given: str, expected: str) -> None:
    assert normalized(["sample", *given.split()]) == ["sample", *expected.split()]
