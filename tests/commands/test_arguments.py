"""A function's parameters as options of the command line."""

import re
from pathlib import Path
from typing import Any, Literal

import pytest

import cli
from commands import COMMANDS, LIGHTNING, arguments, find_command
from runtime.errors import UserError
from runtime.ranges import Fraction, Positive


def tool(
    run: Path,
    count: Positive = 3,
    classes: list[str] | None = None,
    numbers: list[int] | None = None,
    files: list[Path] | None = None,
    format: list[Literal["onnx", "torch"]] = ["onnx"],  # noqa: B006
    gif: bool = False,
    steps: Positive | None = None,
    share: Fraction | None = None,
    rate: int | float | None = None,
    way: Literal["up", "down"] | Literal["left"] | None = None,
) -> dict[str, Any]:
    """Returns what it got."""
    return locals()


def sweep(seeds: int = 1, fit: list[str] = []) -> tuple[int, list[str]]:  # noqa: B006
    """Returns its options and those of others."""
    return seeds, fit


def call(line: str) -> dict[str, Any]:
    return arguments.call(tool, "tool", line.split())


@pytest.mark.parametrize("line", ["runs/a", "--ckpt_path runs/a", "--ckpt_path=runs/a",
                                  "--run runs/a --count 3"])  # fmt: skip
def test_the_run_comes_first_or_as_an_option(line):
    assert call(line)["run"] == Path("runs/a")
    assert call(line)["count"] == 3


def test_a_list_is_written_as_words_or_with_commas():
    for line in ("r --classes 3 1 4", "r --classes 3,1,4", "r --classes [3,1,4]"):
        assert call(line)["classes"] == ["3", "1", "4"]
    assert call("r --numbers 3 1 4 --gif")["numbers"] == [3, 1, 4]
    assert call("r --numbers -1 2")["numbers"] == [-1, 2]


def test_a_repeated_option_of_a_list_adds_to_it():
    assert call("r --format onnx --format torch")["format"] == ["onnx", "torch"]
    assert call("r --files a,b.png c.png")["files"] == [Path("a,b.png"), Path("c.png")]
    assert call('r --files=["a.png","b.png"]')["files"] == [Path("a.png"), Path("b.png")]


@pytest.mark.parametrize(("line", "value"), [("r --gif", True), ("r --gif --count 4", True),
                                             ("r --gif false", False), ("r", False)])  # fmt: skip
def test_a_switch_alone_means_true(line, value):
    assert call(line)["gif"] is value


def test_options_of_others_are_passed_on_as_they_are():
    line = ["--seeds", "4", "--config", "a.yaml", "--trainer.max_steps=5", "-c", "b.yaml"]
    assert arguments.call(sweep, "sweep", line) == (4, line[2:])
    line = ["--config", "a.yaml", "--seeds=2", "--model.lr", "-3"]
    assert arguments.call(sweep, "sweep", line) == (2, ["--config", "a.yaml", "--model.lr", "-3"])


def test_options_of_others_leave_the_help_to_the_command(capsys):
    with pytest.raises(SystemExit) as stopped:
        arguments.call(sweep, "sweep", ["--config", "a.yaml", "--help"])
    assert stopped.value.code == 0
    assert "--seeds" in capsys.readouterr().out


MISTAKES = {
    "": "missing: RUN, directly after the command, such as `python cli.py tool runs/cgan`.",
    "r --cuont 4": "there is no option '--cuont'. Did you mean --count?",
    "r --count many": "--count: expected int, got 'many'.",
    "r --count 0": "--count: expected a number >0, got 0.",
    "r --numbers x": "--numbers: expected int, got 'x'.",
    "r --format onxn": "--format: expected one of 'onnx', 'torch', got 'onxn'. Did you mean onnx?",
    "r --steps two": "--steps: expected int, got 'two'.",
    "r --steps 0.5": "--steps: expected int, got '0.5'.",
    "r --share x": "--share: expected float, got 'x'.",
    "r --rate x": "--rate: expected a number, got 'x'.",
    "r --way dwn": "--way: expected one of 'up', 'down', 'left', got 'dwn'. Did you mean down?",
    "r --gif maybe": "--gif: expected bool, got 'maybe'.",
    "r --classes": "--classes needs a value: write one after it.",
    "r again": "there is no option 'again'. It is one of run, count, classes, numbers, files, "
    "format, gif, steps, share, rate, way.",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_one_line(line):
    with pytest.raises(UserError) as raised:
        call(line)
    assert str(raised.value) == MISTAKES[line]


def test_a_function_may_have_no_parameters_but_none_without_a_type():
    def hello() -> str:
        return "hello"

    def untyped(run: Path, width=3) -> None:  # noqa: ANN001
        pass

    assert arguments.call(hello, "mine.hello", []) == "hello"
    with pytest.raises(UserError, match="there is no option 'again'"):
        arguments.call(hello, "mine.hello", ["again"])
    with pytest.raises(UserError, match="mine.untyped: width has no type: write "):
        arguments.call(untyped, "mine.untyped", ["runs/a"])


def test_help_lists_the_parameters(capsys):
    with pytest.raises(SystemExit) as stopped:
        call("--help")
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith("usage: python cli.py tool RUN [OPTIONS]")
    assert "--count" in printed


@pytest.mark.parametrize("name", [n for n in COMMANDS if COMMANDS[n][0] != LIGHTNING])
def test_every_command_is_a_documented_function(name):
    function = find_command(name)
    assert function.__doc__
    hints = arguments.get_type_hints(function)
    assert hints.keys() - {"return"} <= {*arguments.signature(function).parameters}


@pytest.mark.parametrize(
    ("file", "model", "given", "expected"),
    [
        ("configs/cgan.yaml", "", None, "cgan"),
        ("configs/lecture/gan.yaml", "", None, "lecture-gan"),
        ("runs/cgan/version_3/config.yaml", "", None, "cgan"),
        ("configs/trainer/gpu.yaml", "models.gan.GAN", None, "gan"),
        ("configs/cgan.yaml", "", "mine", "mine"),
    ],
)
def test_an_experiment_has_its_configs_name(file, model, given, expected):
    assert arguments.experiment_name([Path(file)], model, given) == expected


@pytest.mark.parametrize(("file", "given"), [("a.yaml", "b\x1b[2J"), ("a\nb.yaml", None)])
def test_an_experiment_with_control_characters_is_refused(file, given):
    with pytest.raises(UserError, match=r"\\(x1b|n).* has control characters in its name"):
        arguments.experiment_name([Path(file)], "", given)


@pytest.mark.parametrize("name", ["sample", "export"])
def test_help_is_in_words(name, capsys):
    with pytest.raises(SystemExit):
        cli.main([name, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert not re.search(r"type:|<class|Optional|\[str\]|null|--\w+\+", text)
    assert ("default: 100" if name == "sample" else "`safetensors`") in text
    assert "-h, --help" in text
