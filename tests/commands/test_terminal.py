"""The terminal shows what asks something of the user, and no more."""

import logging
import warnings
from pathlib import Path

from commands import terminal
from tests.test_cli import LIGHT, fresh, run


def test_a_command_prints_its_results_and_its_warnings_in_one_line(
    tmp_path: Path, in_root: Path
) -> None:
    run("fit", "--config=configs/iris.yaml", "--trainer.max_steps=3",
        f"--trainer.default_root_dir={tmp_path}")  # fmt: skip
    folder = tmp_path / "iris" / "version_0"
    script = f"{LIGHT} cli.main()"
    done = fresh(script, "test", f"--ckpt_path={folder}", "--model.label_smoothing=0.3")
    assert done.returncode == 0, done.stderr
    warning, restoring, pictures = done.stderr.splitlines()
    assert warning.startswith("warning: model.label_smoothing: ")
    assert restoring.endswith(f"{folder}/checkpoints/last.ckpt")
    assert pictures.startswith("Pictures: ")


def test_a_gpu_that_is_there_is_said() -> None:
    logger = logging.getLogger(terminal.LOGGERS[0])
    with terminal.without_irrelevant_messages():
        for text, shown in (
            ("GPU available: True (cuda), used: True", True),
            ("GPU available: False, used: False", False),
            ("TPU available: False, using: 0 TPU cores", False),
            ("Restoring states from the checkpoint path at x", True),
        ):
            assert bool(logger.filter(logging.makeLogRecord({"msg": text}))) is shown


def test_the_format_of_warnings_is_restored() -> None:
    before = warnings.formatwarning
    with terminal.short_warnings():
        text = warnings.formatwarning(UserWarning("two\n lines"), UserWarning, "file.py", 3)
    assert text == "warning: two lines\n"
    assert warnings.formatwarning is before
