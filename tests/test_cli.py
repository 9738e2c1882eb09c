"""The command line as a user meets it."""

import errno
import logging
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
import yaml
from lightning import LightningModule
from PIL import Image

import cli
from commands import COMMANDS
from commands.ladder_cli import LadderCLI
from runtime.run_folder import RunFolder
from tests.conftest import ROOT
from tests.models.gans import WIDTH_2

TINY_GAN = ["--model=GAN", *WIDTH_2]
DIGITS = ["--data=Images", "--data.dataset=digits", "--data.batch_size=32"]


def run(*args: str) -> None:
    cli.main([*args])


def fails(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """The one line that a mistaken command prints."""
    with pytest.raises(SystemExit) as stopped:
        run(*args)
    assert stopped.value.code == 2
    (line,) = [n for n in capsys.readouterr().err.splitlines() if n.startswith("error:")]
    return line


def fresh(script: str, *args: str) -> "subprocess.CompletedProcess[str]":
    """Runs a script in a new process, in the project's folder."""
    command = [sys.executable, "-c", script, *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def parsed(*args: str) -> LadderCLI:
    """The command line after parsing, before anything is built."""
    command = LadderCLI.__new__(LadderCLI)
    command.before_instantiate_classes = command.instantiate_classes = lambda: None  # type: ignore
    command._run_subcommand = lambda subcommand: None  # type: ignore[method-assign]
    command.__init__([*args])  # type: ignore[misc]
    return command


LIGHT = "import sys, cli; sys.argv = ['cli.py', *sys.argv[1:]]; "
HEAVY = "print([name for name in ('torch', 'lightning', 'pandas') if name in sys.modules])"


@pytest.mark.parametrize(
    ("args", "code", "expected"),
    [
        (["--help"], 0, "usage: python cli.py"),
        (["--version"], 0, "Ladder 0."),
        ([], 2, "usage: python cli.py"),
        (["tain"], 2, "error: there is no command 'tain': one of fit, "),
        (["compare", "nothing"], 2, "error: there is nothing to compare in nothing"),
    ],
)
def test_light_commands_import_nothing_heavy(args: list[str], code: int, expected: str) -> None:
    script = f"import atexit; atexit.register(lambda: {HEAVY}); {LIGHT} cli.main()"
    done = fresh(script, *args)
    assert done.returncode == code, done.stderr
    assert (done.stderr or done.stdout).startswith(expected)
    assert done.stdout.endswith("[]\n")
    for name in COMMANDS:
        assert name in done.stdout + done.stderr or args[:1] in (["compare"], ["--version"])


def test_a_call_from_python_restores_all_filters(in_root: Path) -> None:
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    before = [*warnings.filters], [*logger.filters]
    run("fit", "--config=configs/gates.yaml", "--trainer.fast_dev_run=1")
    assert ([*warnings.filters], [*logger.filters]) == before


def test_lightnings_parser_knows_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    line = fails(capsys, "--print_config", "tain")
    assert "invalid choice: 'tain'" in line
    assert all(name in line for name in COMMANDS)


def test_only_the_given_command_builds_its_parser(in_root: Path) -> None:
    """Each of the others would take 50 ms."""
    light = {name for name, command in COMMANDS.items() if command.light}
    given = ["fit", "--config=configs/gates.yaml"]
    for args in (given, {"fit": {"model": "GateMLP", "data": "Gates"}}):
        command = LadderCLI.__new__(LadderCLI)
        command.args = args  # type: ignore[assignment]
        assert command.subcommands().keys() == {"fit"}
    assert parsed(*given).parser.commands.keys() == {"fit"} | light


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small run."""
    root = tmp_path_factory.mktemp("runs")
    run("fit", *TINY_GAN, *DIGITS, "--trainer.max_steps=8", "--trainer.log_every_n_steps=2",
        "--trainer.limit_train_batches=4", f"--trainer.default_root_dir={root}",
        "--samples.min_steps=0", "--checkpoint.min_steps=0", "--experiment=tiny",
        "--quality.samples=100", "--quality.final_samples=100")  # fmt: skip
    return root / "tiny" / "version_0"


def test_a_run_folder_says_everything(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert {"config.yaml", "metrics.csv", "checkpoints", "figures"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    figures = {path.name for path in (finished / "figures").iterdir()}
    steps = {f"samples_{step:07d}.png" for step in (0, 4, 8)}
    drawn = {"data_examples.png", "network.png", "samples.png", "curves.png"}
    drawn |= {"network.svg", "curves.svg"}  # lines and text also as vectors
    assert figures == drawn | steps
    checkpoints = {path.name for path in (finished / "checkpoints").iterdir()}
    assert checkpoints == {"last.ckpt", "best.ckpt"} | {
        f"epoch={e:03d}-step={4 * e + 4:07d}.ckpt" for e in (0, 1)
    }
    assert yaml.safe_load((finished / "config.yaml").read_text())["trainer"]["max_steps"] == 8


def test_checkpoints_hold_both_networks_and_plain_values(finished: Path) -> None:
    checkpoint = torch.load(finished / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 8
    networks = {name.split(".")[0] for name in checkpoint["state_dict"]}
    assert {"generator", "discriminator", "grid_latents"} <= networks
    assert checkpoint["hyper_parameters"]["trunk"]["init_args"]["width"] == 2
    assert checkpoint["datamodule_hyper_parameters"]["dataset_found"] == "digits"


def test_the_last_checkpoint_is_used_with_nothing_but_the_run(
    finished: Path, tmp_path: Path
) -> None:
    before = (finished / "config.yaml").read_text()
    run("validate", f"--ckpt_path={finished}")
    run("test", f"--ckpt_path={finished}")
    assert (finished / "config.yaml").read_text() == before


def test_pictures_have_a_place_for_each_sample(finished: Path) -> None:
    with Image.open(finished / "figures" / "samples.png") as picture:
        assert picture.size == (2 * (5 * 30 + 2), 2 * (5 * 30 + 2))


def test_tensorboard_has_scalars_images_and_the_graph(finished: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished), size_guidance={"images": 0}).Reload()
    assert {"train/d_loss", "train/g_loss", "val/d_loss"} <= set(events.Tags()["scalars"])
    assert [image.step for image in events.Images("pictures/samples")] == [0, 4, 8]
    assert [scalar.step for scalar in events.Scalars("train/d_loss")] == [1, 3, 5, 7]
    assert events.Tags()["graph"]


def test_the_run_that_is_chosen_of_several_is_said(
    finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runs = tmp_path / "tiny"
    shutil.copytree(finished, runs / "version_0")
    run("sample", f"--ckpt_path={runs}", "--count=10")
    assert "runs:" not in caplog.text  # there is no choice
    shutil.copytree(finished, runs / "version_1")
    last = runs / "version_0" / "checkpoints" / "last.ckpt"
    os.utime(last, (2e9, 2e9), follow_symlinks=False)
    os.utime(last, (1.7e9, 1.7e9))
    for path in (runs / "version_1").glob("checkpoints/*"):
        os.utime(path, (1.6e9, 1.6e9), follow_symlinks=False)
    run("sample", f"--ckpt_path={runs}", "--count=10")
    assert f"{runs} has 2 runs: version_0, the newest, step 8." in caplog.messages


def test_a_batch_size_that_cannot_be_is_said_before_the_summary(
    in_root: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    line = fails(capsys, "fit", "--config=configs/iris.yaml", "--data.batch_size=200")
    assert "batch_size 200 is larger than the 120 training examples" in line
    assert "parameters" not in caplog.text


def test_hyperparameters_of_the_checkpoint_win_with_a_warning(finished: Path) -> None:
    with pytest.warns(UserWarning, match="model.latent_dim.*4.*9 is not used"):
        run("validate", "--model=GAN", "--model.latent_dim=9", *DIGITS,
            "--quality.final_samples=0", f"--ckpt_path={finished}")  # fmt: skip


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_random_weights_are_used_only_on_request(
    command: str, in_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [f"--trainer.default_root_dir={tmp_path}", "--config=configs/iris.yaml"]
    flags.append("--data.val_fraction=0.2")
    line = fails(capsys, command, *flags)
    assert f"`python cli.py {command} --ckpt_path RUN`, or --untrained true." in line
    assert not list(tmp_path.iterdir())
    run(command, *flags, "--untrained=true")
    assert list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "loggers", "others"),
    [
        ([], [], []),
        (["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=x"], [], ["CSVLogger"]),
        (["--trainer.logger=[{class_path: CSVLogger, init_args: {save_dir: x}}]"],
         [], ["CSVLogger"]),
        (["--trainer.logger=false"], [], None),
        (["--trainer.fast_dev_run=1"], ["DummyLogger"], None),
        (["--trainer.fast_dev_run=1", "--trainer.logger=MLFlowLogger"], ["DummyLogger"], None),
        (["--trainer.fast_dev_run=1", "--trainer.logger=false"], ["DummyLogger"], None),
    ],
)  # fmt: skip
def test_a_users_logger_is_left_to_the_run_folder(
    flags: list[str], loggers: list[str], others: list[str] | None, in_root: Path
) -> None:
    command = parsed("fit", "--config=configs/gates.yaml", *flags)
    LadderCLI.instantiate_classes(command)
    assert [type(logger).__name__ for logger in command.trainer.loggers] == loggers
    callbacks = command.trainer.callbacks  # type: ignore[attr-defined]  # set by a connector
    folders = [callback for callback in callbacks if isinstance(callback, RunFolder)]
    made = [[type(make()).__name__ for make in folder.others] for folder in folders]
    assert made == ([] if others is None else [others])


def test_a_mistake_leaves_the_process_with_two_and_no_traceback() -> None:
    command = [sys.executable, "cli.py", "fit", "--config", "configs/nothing.yaml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --config configs/nothing.yaml: no such file.")
    assert "Traceback" not in done.stderr


def test_a_run_without_checkpoints_promises_none(
    in_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(
        "fit", "--config=configs/gates.yaml", "--trainer.enable_checkpointing=false",
        "--trainer.max_epochs=1", f"--trainer.default_root_dir={tmp_path}",
    )  # fmt: skip
    assert not list(tmp_path.glob("**/*.ckpt"))
    assert "--ckpt_path" not in capsys.readouterr().err


@pytest.mark.slow
def test_training_collects_garbage_and_takes_subnormal_numbers_as_zero(tmp_path: Path) -> None:
    (tmp_path / "spy.py").write_text(
        "import gc, torch\nfrom lightning import Callback\n"
        "class Spy(Callback):\n"
        "    def on_train_start(self, *_):\n"
        "        print('collects:', gc.isenabled(), gc.get_freeze_count() > 100_000)\n"
        "        print('subnormal:', int((torch.full((2**22,), 2e-38) / 4).count_nonzero()))\n"
    )
    # A network whose making takes several threads: they start before there is a trainer.
    command = [sys.executable, "cli.py", "fit", "--config=configs/vgg16.yaml"]
    command += ["--data.dataset=digits", "--trainer.fast_dev_run=true"]
    command += ['--trainer.callbacks+={"class_path": "spy.Spy"}']
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100
    )
    assert "collects: True True" in done.stdout, done.stderr
    assert "subnormal: 0" in done.stdout


IRIS = ["--config=configs/iris.yaml", "--trainer.max_epochs=1"]


@pytest.mark.parametrize("model", [IRIS, [*TINY_GAN, *DIGITS, "--trainer.max_steps=2"]])
def test_float64_trains(model: list[str], in_root: Path, tmp_path: Path) -> None:
    root = f"--trainer.default_root_dir={tmp_path}"
    run("fit", *model, root, "--trainer.precision=64-true")


def test_a_full_disk_is_one_line(
    in_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/data/x")

    for place, expected in {
        "torch.save": "last.ckpt cannot be written (No space left on device",
        "callbacks.curves.Curves.on_train_end": "error: /data/x: No space left on device (",
    }.items():
        with monkeypatch.context() as patch:
            patch.setattr(place, full)
            with pytest.raises(SystemExit) as stopped:
                cli.main(["fit", *IRIS, f"--trainer.default_root_dir={tmp_path}"])
        assert stopped.value.code == 1
        (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error")]
        assert expected.split(" ", 1)[1] in line


@pytest.mark.parametrize("command", ["fit", "sample", "maximize"])
def test_a_commands_own_options_come_first_in_its_help(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(command, "--help")
    assert "\nTrainer:" not in (short := capsys.readouterr().out)
    assert f"`python cli.py {command} --help all`" in " ".join(short.split())
    with pytest.raises(SystemExit):
        run(command, "--help", "all")
    text = capsys.readouterr().out
    for jargon in ("Annotated", "Linked arguments", "for `RunFolder`"):
        assert jargon not in text
    run_or_config = "--config FILE" if command == "fit" else "--ckpt_path RUN"
    assert text.startswith(f"usage: python cli.py {command} {run_or_config} [OPTIONS]\n")
    own = {"fit": "--init_from", "sample": "--count", "maximize": "--layer"}[command]
    places = [text.index(part) for part in (
        f"\nOptions of {command}:", f"  {own} ", "\noptions:", "\nTrainer, model and data options:",
        "\nTrainer:", "\nModel:", "\nData:", "\nCheckpoints:", "\nQuality scores:",
    )]  # fmt: skip
    assert places == sorted(places)
    assert ("--init_from" in text) == (command == "fit")


class Shout:
    """Adds a command."""

    def shout(self, model: LightningModule, loud: bool = False) -> None:
        """Prints a word.

        Args:
            loud: Print it in capitals.
        """


def test_a_users_command_is_described_by_its_method(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        run(f"{__name__}.Shout", "--help")
    del COMMANDS["shout"]
    assert "\n\nPrints a word.\n\n" in capsys.readouterr().out


def test_srun_outside_of_a_job_is_no_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """Lightning would warn on the login node of a cluster, at each start."""
    (tmp_path / "srun").write_text("#!/bin/sh")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    run("fit", "--model=IrisMLP", "--data=Iris", "--trainer.fast_dev_run=1")
    assert [str(w.message) for w in recwarn if "srun" in str(w.message)] == []
