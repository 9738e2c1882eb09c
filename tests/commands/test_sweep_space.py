"""A space of settings is read from its file, or one line says what is wrong with it."""

from pathlib import Path
from typing import Any

import pytest

from commands import sweep_space
from runtime.errors import UserError

BAD_SPACES = {
    "": "not a space. It needs a line for each option",
    "[1, 2]": "not a space",
    "x: [": "space.yaml:1: not valid YAML",
    "x: []": "x: the list of choices is empty",
    "x: 3": "x: expected a list of choices or a range, `x: [3]` or `x: {low: ..., high: ...}`",
    "x: {lo: 1, high: 3}": "x: a range has low, high, log and step, not 'lo'. Did you mean low",
    "x: {y: [1, 2]}": "An option is one dotted name, such as `model.optimizer.lr`.",
    "x: {high: 3}": "x: a range needs low.",
    "x: {low: 3, high: 1}": "x: low 3 is above high 1.",
    "x: {low: a, high: 1}": "x: low is a number, not 'a'.",
    "x: {low: true, high: 1}": "x: low is a number, not 'True'.",
    "x: {low: 0, high: 1, log: true}": "x: a logarithmic range needs a low above 0, not 0.",
    "x: {low: 1, high: 4, log: true, step: 1}": "x: a logarithmic range has no step.",
    "x: {low: 1, high: 4, step: 0}": "x: step 0 is not above 0.",
    "x: {low: 1, high: 4, log: 1}": "x: log is true or false, not '1'.",
    "ckpt_path: [a, b]": "ckpt_path is set by sweep for each run: leave it out.",
}


@pytest.mark.parametrize("text", BAD_SPACES)
def test_a_malformed_space_is_explained(text: str, tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as raised:
        sweep_space.read(file)
    assert BAD_SPACES[text] in str(raised.value)
    assert str(file) in str(raised.value)


def test_the_kinds_of_values(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(
        "a: {low: 1, high: 8, step: 2}\nb: {low: 1e-4, high: 1, log: true}\n"
        "c: {low: 0, high: 1, step: 0.5}\nd: [[8, 8], null, true, x, 0.5]\n"
    )
    found = {name: tuple(values) for name, values in sweep_space.read(file).items()}
    assert found == {
        "a": ("int", {"low": 1, "high": 8, "step": 2}),
        "b": ("float", {"low": 1e-4, "high": 1, "log": True}),
        "c": ("float", {"low": 0, "high": 1, "step": 0.5}),
        "d": ("categorical", {"choices": ["[8, 8]", "null", True, "x", 0.5]}),
    }
    chosen = {"a": 3, "b": 1e-5, "d": "[8, 8]", "e": True, "f": "x"}
    assert sweep_space.as_options(chosen) == ["--a=3", "--b=1e-05", "--d=[8, 8]", "--e=true",
                                              "--f=x"]  # fmt: skip


def test_an_overlay_names_the_classes_of_its_arguments() -> None:
    network = {"class_path": "FeedForward", "init_args": {"hidden": [8], "dropout": 0.0}}
    model = {"class_path": "IrisMLP", "init_args": {"network": network, "variation": 1.5}}
    config: dict[str, Any] = {"model": model, "trainer": {"max_epochs": 3, "devices": 1}}
    values = {"model.network.hidden": "[8]", "model.variation": 1.5, "trainer.max_epochs": 3}
    assert sweep_space.overlay(config, values) == {
        "model": {
            "class_path": "IrisMLP",
            "init_args": {
                "variation": 1.5,
                "network": {"class_path": "FeedForward", "init_args": {"hidden": [8]}},
            },
        },
        "trainer": {"max_epochs": 3},
    }
    assert sweep_space.overlay(config, {"model.network": "x"}) == {
        "model": {"class_path": "IrisMLP", "init_args": {"network": network}}
    }
