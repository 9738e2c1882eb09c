"""The command line as a user meets it."""

import errno
import gc
import logging
import os
import re
import subprocess
import sys
import warnings
from contextlib import nullcontext

import pytest
import torch.distributed as dist

import cli
import commands
from commands import COMMANDS
from commands.fit import help_texts, lightning_run
from commands.fit.ladder_cli import LadderCLI
from commands.rewording import explain_error
from runtime.run_folder import RunFolder
from tests.conftest import ROOT
from tests.models.gans import WIDTH_2

TINY_GAN = ["--model=GAN", *WIDTH_2]


def run(*args: str) -> None:
    cli.main([*args])


def fails(capsys: pytest.CaptureFixture[str], *args: str, code: int = 2) -> str:
    """The one line that a mistaken command prints."""
    with pytest.raises(SystemExit) as stopped:
        run(*args)
    assert stopped.value.code == code
    (line,) = [n for n in capsys.readouterr().err.splitlines() if n.startswith("error:")]
    return line


def fresh(script: str, *args: str) -> "subprocess.CompletedProcess[str]":
    """Runs a script in a new process, in the project's folder."""
    command = [sys.executable, "-c", script, *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def parsed(*args: str) -> LadderCLI:
    """The command line after parsing, before anything is built."""
    command = LadderCLI.__new__(LadderCLI)
    command.before_instantiate_classes = command.instantiate_classes = lambda: None
    command._run_subcommand = lambda subcommand: None
    command.__init__([*args])
    return command


LIGHT = "import sys, cli; sys.argv = ['cli.py', *sys.argv[1:]]; "
HEAVY = "print([name for name in ('torch', 'lightning', 'pandas', 'yaml') if name in sys.modules])"


@pytest.mark.parametrize(
    ("args", "code", "expected"),
    [
        (["--help"], 0, "usage: python cli.py"),
        (["--version"], 0, "Ladder 0."),
        ([], 2, "usage: python cli.py"),
        (["tain"], 2, "error: there is no command 'tain': one of fit, "),
        (["fit", "--help"], 0, "usage: python cli.py fit --config FILE"),
        (["test", "-h"], 0, "usage: python cli.py test RUN"),
    ],
)
def test_light_commands_import_nothing_heavy(args, code, expected):
    script = f"import atexit; atexit.register(lambda: {HEAVY}); {LIGHT} cli.main()"
    done = fresh(script, *args)
    assert done.returncode == code, done.stderr
    assert (done.stderr or done.stdout).startswith(expected)
    assert done.stdout.endswith("[]\n")
    if args in ([], ["--help"], ["tain"]):
        assert [name for name in COMMANDS if name not in done.stdout + done.stderr] == []


def test_ctrl_c_ends_a_tool_with_one_line():
    press = "import signal; signal.signal(2, signal.default_int_handler); signal.raise_signal(2)"
    done = fresh(
        f"{LIGHT} cli.commands.find_command = lambda name: exec({press!r}); cli.main()", "sample"
    )
    assert done.returncode == 130
    assert done.stderr == "\nStopped by Ctrl-C.\n"


def test_without_the_environment_it_says_what_activates_it():
    done = fresh(
        "import sys; sys.modules['torch'] = None; import cli; cli.main(['fit', '--trust'])"
    )
    assert done.returncode == 2
    assert re.match(r"error: torch is not installed for .* environment, `make train`", done.stderr)
    assert done.stderr.count("\n") == 1


def test_the_short_help_names_options_that_exist(in_root):
    command = parsed("fit", "--config=configs/cgan.yaml", "--data=Images")
    known = {*command._subcommand_parsers["fit"].get_defaults().keys()}
    known |= {f"data.{name}" for name in command.config.fit.data.init_args.as_dict()}
    known |= {f"model.{name}" for name in command.config.fit.model.init_args.as_dict()}
    parts = {*re.findall(r"^  --(\S+)", help_texts.FIT, re.MULTILINE)} - {"config"}
    nested = {"model.network.width", "model.optimizer.lr", "model.generator.width"}
    assert parts - nested <= known


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("--model.help=IrisMLP", "--model.label_smoothing"),
        ("--model.help=GAN", "--model.discriminator_steps"),
        ("--data.help=Iris", "--data.split_seed"),
    ],
)
def test_help_of_a_class_lists_its_options(option, expected, capsys):
    with pytest.raises(SystemExit) as stopped:
        run("fit", option)
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert expected in printed
    assert len(printed.splitlines()) < 200  # not every module of torch that fits
    assert "--trainer" not in printed


def test_the_whole_help_lists_the_trainers_options(capsys):
    with pytest.raises(SystemExit):
        run("fit", "--help", "all")
    assert "--trainer.gradient_clip_val" in capsys.readouterr().out


def test_a_config_of_the_project_is_found_from_elsewhere(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = fails(capsys, "fit", "--config=configs/iris.yaml")
    assert f"no such file in {tmp_path}. It is in {ROOT}: go there first" in line


def test_a_call_from_python_restores_all_filters(in_root):
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    before = [*warnings.filters], [*logger.filters]
    run("fit", "--config=configs/gates.yaml", "--trainer.fast_dev_run=1")
    assert ([*warnings.filters], [*logger.filters]) == before


def test_a_batch_larger_than_the_data_is_halved_and_said_before_the_summary(in_root, caplog):
    run("fit", "--config=configs/iris.yaml", "--data.batch_size=400", "--trainer.fast_dev_run=1")
    said = "The 120 training examples do not fill a batch of 400: this run takes 100."
    assert said in caplog.text.partition("parameters")[0]


@pytest.mark.parametrize(
    ("flags", "loggers", "folder"),
    [
        ([], [], True),
        (["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=x"], ["CSVLogger"], True),
        (["--trainer.logger=[{class_path: CSVLogger, init_args: {save_dir: x}}]"],
         ["CSVLogger"], True),
        (["--trainer.logger=false"], [], False),
        (["--trainer.fast_dev_run=1"], ["DummyLogger"], False),
    ],
)  # fmt: skip
def test_a_users_logger_stands_beside_those_of_the_run_folder(flags, loggers, folder, in_root):
    command = parsed("fit", "--config=configs/gates.yaml", *flags)
    LadderCLI.instantiate_classes(command)
    assert [type(logger).__name__ for logger in command.trainer.loggers] == loggers
    callbacks = command.trainer.callbacks  # set by a connector
    assert any(isinstance(callback, RunFolder) for callback in callbacks) == folder


@pytest.mark.parametrize(
    ("config", "own"), [("iris", {"Evaluation"}), ("points/gan", {"SampleGrid", "Quality"})]
)
def test_a_run_has_a_callback_for_each_subject_of_its_model(config, own, in_root):
    """Lightning calls each of them at every hook of a step."""
    command = parsed("fit", f"--config=configs/{config}.yaml")
    LadderCLI.instantiate_classes(command)
    callbacks = command.trainer.callbacks  # type: ignore[attr-defined]  # set by a connector
    assert {type(callback).__name__ for callback in callbacks} == own | {
        "RunFolder", "StepMonitor", "Figures", "Progress", "Preemption", "EpochCheckpoint"
    }  # fmt: skip
    assert len(callbacks) <= 8


def collection():
    """Prints how garbage collection is set."""
    print(gc.isenabled(), gc.get_freeze_count() > 100_000)


@pytest.mark.parametrize("own_process", [True, False])
def test_no_collection_looks_through_what_a_process_has_imported(own_process, capsys):
    try:
        commands.run([f"{__name__}.collection"], own_process)
    finally:
        gc.unfreeze()
    assert capsys.readouterr().out == f"True {own_process}\n"


def test_a_run_without_checkpoints_promises_none(in_root, tmp_path, capsys):
    run(
        "fit", "--config=configs/gates.yaml", "--trainer.enable_checkpointing=false",
        "--trainer.max_epochs=1", f"--trainer.default_root_dir={tmp_path}",
    )  # fmt: skip
    assert not list(tmp_path.glob("**/*.ckpt"))
    assert "--ckpt_path" not in capsys.readouterr().err


@pytest.mark.slow
def test_training_takes_subnormal_numbers_as_zero(tmp_path):
    (tmp_path / "spy.py").write_text(
        "import torch\nfrom lightning import Callback\n"
        "class Spy(Callback):\n"
        "    def on_train_start(self, *_):\n"
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
    assert "subnormal: 0" in done.stdout, done.stderr


IRIS = ["--config=configs/iris.yaml", "--trainer.max_epochs=1"]


def test_a_full_disk_is_one_line(in_root, tmp_path, capsys, monkeypatch):
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("torch.save", full)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["fit", *IRIS, f"--trainer.default_root_dir={tmp_path}"])
    assert stopped.value.code == 1
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error")]
    assert ".ckpt: No space left on device (" in line


def test_errors_of_others_are_one_line_and_those_of_the_program_keep_their_traceback():
    full = OSError(errno.ENOSPC, "No space left on device", "/data/x")
    assert explain_error(full)[0] == 1
    assert explain_error(full)[1].startswith("/data/x: No space left on device (")
    large = OSError(errno.EFBIG, "File too large", "/data/x")
    assert explain_error(large)[0] == 1
    assert explain_error(large)[1].startswith("/data/x: File too large, see `ulimit -f`. ")
    long = OSError(errno.ENAMETOOLONG, "File name too long", "a" * 300)
    assert explain_error(long) == (2, f"{'a' * 60}...: File name too long: shorten it")
    memory = RuntimeError("[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: can't allocate")
    for error in (memory, MemoryError()):
        assert explain_error(error)[0] == 1
        assert explain_error(error)[1].startswith("out of memory: set a smaller --data.batch_size")
    for mistake in (RuntimeError("a mistake in a model"), ValueError("another"), KeyError("x")):
        assert explain_error(mistake)[1] == ""


@pytest.mark.parametrize(
    ("end", "stays"), [(None, False), (SystemExit(75), False), (RuntimeError("a rank died"), True)]
)
def test_leaves_the_other_ranks_before_the_interpreter_shuts_down(end, stays, monkeypatch):
    """Otherwise a thread of gloo aborts some of the processes (pytorch/pytorch#179291)."""

    def command(args: list[str]) -> None:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        if end is not None:
            raise end

    monkeypatch.setattr("commands.fit.ladder_cli.LadderCLI", command)
    with pytest.raises(type(end)) if end else nullcontext():
        lightning_run.run_lightning(["fit"], own_process=True)
    assert dist.is_initialized() == stays
