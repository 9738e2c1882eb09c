"""Every command in README and docs: run, shortened, or checked as far as this machine can."""

import re
import shlex
import subprocess
import tomllib
from contextlib import nullcontext, suppress
from importlib.util import find_spec
from inspect import signature

import pytest
from PIL import Image

from commands import arguments, sweep
from tests.commands.runs import DIGITS
from tests.conftest import ROOT
from tests.datamodules.pictures import write_classes
from tests.models.gans import WIDTH_2
from tests.test_cli import parsed, run
from tests.test_configs import EXPERIMENTS, OVERLAYS

# The commands of these pages are run in their order by other tests.
OTHERS = {"extending.md": "test_extending.py", "own-data.md": "test_own_data_docs.py"}
PAGES = [*(ROOT / "docs").glob("*.md"), ROOT / "slurm/README.md",
         *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY"))]  # fmt: skip
PROGRAMS = ("python", "make", "pip", "sbatch", "tensorboard", "wandb", "ssh", "source", "timeout",
            "scancel", "git", "unshare", "SWEEP=")  # fmt: skip
# Not run: they need a network, another machine, or only change the shell.
ELSEWHERE = ("wandb sync", "ssh ", "source ", "scancel", "git ", "timeout ", "unshare ")
FENCED = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)


def commands_of(text: str) -> list[str]:
    """Returns the command lines in code blocks and in inline code, without their comments."""
    text = re.sub(r"^```python\n.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    blocks, rest = FENCED.findall(text), FENCED.sub("", text)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += [line[4:] for line in rest.splitlines() if line.startswith("    ")]
    lines += re.findall(r"`([^`\n]+)`", rest)
    lines = [re.split(r"\s+# ", line)[0].strip() for line in lines]
    lines = [line for line in lines if line.startswith(PROGRAMS) and " " in line]
    return [line for line in lines if "..." not in line]  # these are patterns


def options_of_tables() -> list[str]:
    """Returns the commands in README's table, whose head is `python cli.py ...`."""
    text = (ROOT / "README.md").read_text()
    table = text[text.index("| `python cli.py ...` |") :].split("\n\n")[0]
    return [f"python cli.py {line}" for line in re.findall(r"^\| `(\w[^`]*)`", table, re.M)[1:]]


TEXTS = [page.read_text() for page in PAGES if page.name not in OTHERS]
COMMANDS = sorted({*options_of_tables(), *(line for text in TEXTS for line in commands_of(text))})


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with runs of a GAN, a classifier and iris, configs, images and scans."""
    folder = tmp_path_factory.mktemp("work")
    for name in ("configs", "slurm", "tests", "benchmarks", "cli.py"):
        (folder / name).symlink_to(ROOT / name)
    write_classes(folder / "photos")
    (folder / "scans").mkdir()
    for file in ("a.png", "scans/b.png"):
        Image.new("L", (40, 40), 255).save(folder / file)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        short = ["--trainer.max_steps=2", "--trainer.limit_val_batches=1", "--quality.samples=0"]
        gan = ["--model=ConditionalGAN", *WIDTH_2, "--samples.min_steps=0"]
        run("fit", *gan, *DIGITS, *short, "--experiment=cgan")
        run("fit", "--model=ImageClassifier", "--model.network.width=2", *DIGITS, *short,
            "--experiment=mnist_cnn")  # fmt: skip
        run("fit", "--config=configs/iris.yaml", *short)
        run("test", "--ckpt_path=runs/iris/version_0")
    return folder


@pytest.fixture(autouse=True)
def in_runs(runs, monkeypatch):
    monkeypatch.chdir(runs)


def test_many_commands_were_found():
    assert len(COMMANDS) > 60
    for command in ("fit", "test", "sample", "maximize", "predict", "export", "compare", "sweep"):
        assert any(line.startswith(f"python cli.py {command}") for line in COMMANDS), command


@pytest.mark.parametrize("line", COMMANDS)
def test_a_documented_command_works(line):
    assert not any(character in line for character in "<>|;&"), "not one command"
    words = shlex.split(line)
    if line.startswith("python cli.py "):
        _check_cli(*words[2:])
    elif line.startswith("python -m pytest "):
        assert (ROOT / words[3]).is_file()
    elif line.startswith("python -m "):
        assert find_spec(words[2])
    elif line.startswith("python docs/"):  # test_own_data_docs.py runs it
        assert (ROOT / words[1]).is_file()
    elif words[0] == "make":
        subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
    elif line.startswith("pip install "):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        extras = re.findall(r"\.\[(.+?)\]", line)
        assert set(extras) <= project["optional-dependencies"].keys()
        assert "-c" not in words or (ROOT / words[words.index("-c") + 1]).is_file()
    elif "sbatch" in words:
        script, *rest = words[next(i for i, w in enumerate(words) if w.endswith(".sbatch")) :]
        assert (ROOT / script).is_file()
        if script.endswith("sweep.sbatch"):
            _check_sweep("--config", *rest)
        else:
            parsed("fit", "--config", *rest)
    else:
        assert line.startswith(("tensorboard --logdir runs --host localhost", *ELSEWHERE))


def _check_cli(command: str, *options: str) -> None:
    if "--help" in options:
        with pytest.raises(SystemExit) as printed:
            run(command, *options)
        assert not printed.value.code
    elif command == "fit":
        _check_fit(*options)
    elif command == "sweep":
        _check_sweep(*options)
    elif command == "compare":
        given = ["runs/iris/version_0" if word == "RUN" else word for word in options]
        if given:  # otherwise a text names the command
            run("compare", *given)
    elif command == "demo":
        with pytest.raises(SystemExit) as stopped:
            run("demo", *options, "--help")
        assert not stopped.value.code
    else:
        kind = "cgan" if command in ("sample", "test", "export") else "mnist_cnn"
        given = [f"runs/{kind}/version_0" if word == "RUN" else word for word in options]
        scored = ["--quality.final_samples=30", "--quality.gan_train=false"]
        quick = {"test": scored, "maximize": ["--steps=2"], "export": ["--format=torch"]}
        limited = any(option.endswith("_score") for option in options)
        with suppress(SystemExit) if limited else nullcontext():  # no image may pass
            run(command, *given, *([] if "html" in options else quick.get(command, [])))


def _check_sweep(*options: str) -> None:
    """Checks the options of a sweep, and those that it passes on to fit."""
    known = {name: str for name in signature(sweep.sweep).parameters if name != "fit"}
    own, fit = arguments.split([*options], known, None)
    assert own
    parsed("fit", *fit)


def _check_fit(*options: str) -> None:
    chosen = [word.replace("RUN", "runs/iris/version_0") for word in options]
    resumed = "--ckpt_path" in chosen
    if resumed:  # `last` is the newest run of the experiment
        chosen[chosen.index("--ckpt_path") + 1] = "runs/cgan/version_0"
    parsed("fit", *chosen)
    files = {ROOT / word for word in options if word.endswith(".yaml")}
    alone = len(options) == 2 and files <= {*EXPERIMENTS}  # tests/test_configs.py trains it
    if not (alone or resumed or files & {*OVERLAYS} or "--trainer.devices" in options):
        digits = [] if {"--init_from", "--data.path"} & {*options} else ["--data.dataset=digits"]
        quick = ["--data.batch_size=8", "--trainer.fast_dev_run=1", "--quality.samples=100"]
        run("fit", *chosen, *digits, *quick)
