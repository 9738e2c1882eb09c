"""The examples of docs/extending.md, each as it is printed, from a file outside the project."""

import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import cli
from tests.conftest import ROOT
from tests.test_cli import fails, parsed

TEXT = (ROOT / "docs" / "extending.md").read_text()
PATTERN = r"<!-- example: ([a-z ]+) -->\n```python\n(.*?)```\n(?:```yaml\n(.*?)```\n)?```\n(.*?)```"
DIGITS = ["--data=Images", "--data.dataset=digits", "--data.batch_size=32"]
SCORED = ["--quality.samples=100", "--quality.final_samples=150", "--quality.gan_train=false"]
GAN = [*DIGITS, *SCORED, "--model.generator.width=2", "--model.trunk.width=2"]
OPTIONS = {
    "network": DIGITS,
    "augmentation": DIGITS,
    "generative model": [*DIGITS, *SCORED],
    "discriminator": GAN,
    "generator term": GAN,
    "loss": GAN,
    "score": GAN,
    "data set": [],
    "loaders": [],
    "callback": [],
}

OFTEN = ("callback", "generative model", "loss")  # the CI tries the others, too
KINDS = [pytest.param(kind, marks=[pytest.mark.slow] * (kind not in OFTEN)) for kind in OPTIONS]


class Example(NamedTuple):
    python: str
    yaml: str
    lines: list[list[str]]  # the arguments of each printed `python cli.py`


EXAMPLES = {
    kind: Example(python, yaml, [line.split()[2:] for line in lines.splitlines()])
    for kind, python, yaml, lines in re.findall(PATTERN, TEXT, re.DOTALL)
}


@pytest.fixture(autouse=True)
def _my_file(request, tmp_path, monkeypatch):
    """Writes the example's files outside the project, and lets Python find them."""
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    kind = parameters.get("kind", "command")
    (tmp_path / "my_file.py").write_text(EXAMPLES[kind].python)
    (tmp_path / "my.yaml").write_text(EXAMPLES[kind].yaml)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(ROOT)
    yield
    sys.modules.pop("my_file", None)


def options(line: list[str], tmp_path: Path) -> list[str]:
    return [str(tmp_path / part) if part == "my.yaml" else part for part in line]


def test_all_examples_are_short():
    assert EXAMPLES.keys() == OPTIONS.keys() | {"command"}
    assert TEXT.count("```python") == len(EXAMPLES)
    for kind, example in EXAMPLES.items():
        assert example.python.count("\n") < 30, kind


@pytest.mark.parametrize("kind", KINDS)
def test_an_example_works_from_a_config_and_from_flags(kind, tmp_path):
    from_file, from_flags = (options(line, tmp_path) for line in EXAMPLES[kind].lines)
    pictures = f"--trainer.pictures={kind in ('callback', 'generative model')}".lower()
    quick = [*OPTIONS[kind], "--trainer.max_steps=2", "--trainer.limit_val_batches=1", pictures,
             "--trainer.accelerator=cpu", f"--trainer.default_root_dir={tmp_path}/runs"
             ]  # fmt: skip
    cli.main([*from_file, *quick])
    (folder,) = (tmp_path / "runs").glob("*/version_0")
    if kind == "generator term":
        assert "train/roughness" in (folder / "metrics.csv").read_text()
    assert "my_file." in (folder / "config.yaml").read_text()
    same = [parsed(*line, *quick).config.fit for line in (from_file, from_flags)]
    for part in ("model", "data", "quality", "trainer"):
        assert same[0][part] == same[1][part]
    if kind == "callback":
        assert (folder / "figures" / "weights.png").is_file()
        return
    cli.main(["test", str(folder), "--trust=true"])  # the checkpoint builds the same parts
    scores = json.loads((folder / "metrics.json").read_text())["test"][-1]["scores"]
    if kind == "score":
        assert scores["brightness"] > 0
    if kind == "generative model":
        assert scores["frechet"] > 0
        assert (folder / "figures" / "samples.png").is_file()
        cli.main(["sample", str(folder), "--count=4", "--trust=true"])


def test_a_command_is_a_function_at_an_import_path(iris, capsys):
    use, ask_for_help = EXAMPLES["command"].lines
    table = cli.main([str(iris) if part == "RUN" else part for part in use])
    printed = capsys.readouterr().out
    assert len(re.findall(r"example \d+: \w+, probability 0\.\d{4}\n", printed)) == 3
    assert table.probability.is_monotonic_increasing
    with pytest.raises(SystemExit) as stopped:
        cli.main(ask_for_help)
    assert stopped.value.code == 0
    assert "How many examples to list. (default: 5)" in capsys.readouterr().out


MISTAKES = {
    "my_file.Nothing": "there is no command 'my_file.Nothing': module 'my_file' has no attribute",
    "my_fil.mistakes": "there is no command 'my_fil.mistakes': No module named 'my_fil'. See",
    "my_file.mistakes": "missing: RUN, directly after the command, such as `python cli.py my_file",
    "my_file.Path": "there is no command 'my_file.Path': it is not a function.",
    "configs/cgan.yaml": "there is no command 'configs/cgan.yaml': one of fit, ",
}


@pytest.mark.parametrize("path", MISTAKES)
def test_a_wrong_path_of_a_command_is_one_line(path, capsys):
    assert MISTAKES[path] in fails(capsys, path)
