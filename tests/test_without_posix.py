"""Runs on a system without POSIX: no links, no signals but two, no /proc, open files stay."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

RUNNER = Path(__file__).parent / "fixtures" / "without_posix.py"
FIT = [
    "fit", "--model", "GAN", "--model.generator.width", "2", "--model.trunk.width", "2",
    "--model.latent_dim", "4", "--data", "Images", "--data.dataset", "digits",
    "--trainer.max_epochs", "4", "--trainer.limit_train_batches", "5", "--experiment", "run",
    "--trainer.enable_progress_bar", "false", "--checkpoint.min_steps", "0",
    "--quality.samples", "64",
]  # fmt: skip


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(RUNNER), *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def run(*arguments: str) -> str:
    process = start(*arguments)
    output = process.communicate()[0]
    assert process.returncode == 0, output
    assert "Traceback" not in output
    return output


TAKEN = {
    "a module": ("import fcntl", "ModuleNotFoundError"),
    "a function": ("import os; os.fork()", "AttributeError"),
    "a signal": ("import signal; signal.SIGUSR1", "AttributeError"),
    "/proc": ("open('/proc/cpuinfo')", "FileNotFoundError"),
    "a link": ("import os; os.symlink('a', 'b')", "privilege"),
    "a file that is open": (
        "import os; one, two = open('one', 'w'), open('two', 'w'); os.replace('one', 'two')",
        "PermissionError",
    ),
}


@pytest.mark.parametrize("taken", TAKEN)
def test_is_taken_away(taken, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program, error = TAKEN[taken]
    Path("program.py").write_text(program)
    process = start("program.py")
    output = process.communicate()[0]
    assert process.returncode == 1
    assert error in output


# What a user does after a run was killed, in one process, which imports everything once
AFTERWARD = """
import sys; sys.path.insert(0, ".")
import cli
folder, *fit = sys.argv[1:]
cli.main([*fit, "--ckpt_path=last"])
cli.main(["test", folder])
cli.main(["sample", folder, "--count=4", f"--out={folder}/drawn"])
"""


@pytest.mark.slow
def test_trains_is_killed_continues_tests_and_samples(tmp_path, in_root, weights_hash):
    whole, parts = (f"--trainer.default_root_dir={tmp_path / name}" for name in ("a", "b"))
    run("cli.py", *FIT, whole)
    process = start("cli.py", *FIT, parts)
    folder = tmp_path / "b/run/version_0"
    deadline = time.monotonic() + 120
    while not (folder / "checkpoints/last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (folder / "checkpoints/last.ckpt").is_file()
    assert not (folder / "checkpoints/last.ckpt").is_symlink()
    (tmp_path / "afterward.py").write_text(AFTERWARD)
    scores = run(str(tmp_path / "afterward.py"), str(folder), *FIT, parts)
    assert "frechet" in scores
    last = "run/version_0/checkpoints/last.ckpt"
    assert weights_hash(tmp_path / "b" / last) == weights_hash(tmp_path / "a" / last)
    assert list((folder / "drawn").glob("**/*.png"))
    assert os.listdir(folder / "figures")
