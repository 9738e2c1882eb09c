"""Ctrl-C asks a run to stop, like SIGTERM; the second ends it at once."""

import signal
import subprocess
import sys
import time

import pytest
import torch

from runtime import signals
from runtime.preemption import SAVED_EXIT_CODE
from tests.conftest import ROOT

RUN = ["--config=configs/iris.yaml", "--data.batch_size=4", "--trainer.log_every_n_steps=50",
       "--trainer.accelerator=cpu", "--checkpoint.min_steps=0", "--model.schedule.shape=constant",
       "--trainer.precision=32-true", "--trainer.pictures=false"]  # fmt: skip


def test_ctrl_c_saves_and_says_how_to_continue(tmp_path):
    """It sets what SIGTERM sets, after which tests/test_resume.py compares the bits."""
    args = ["fit", *RUN, f"--trainer.default_root_dir={tmp_path}", "--trainer.max_epochs=100000"]
    folder = tmp_path / "iris" / "version_0"
    last = folder / "checkpoints" / "last.ckpt"
    with subprocess.Popen(
        [sys.executable, "cli.py", *args], text=True, cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        while not last.exists():
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        text = process.communicate(timeout=120)[0]
    assert process.returncode == SAVED_EXIT_CODE, text
    assert f"--ckpt_path {folder}" in text.split("Continue: ")[1]
    step = torch.load(last, weights_only=True)["global_step"]
    assert f"Told to stop after step {step}" in text.replace(",", "")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_each_stop_signal_stops(signum):
    """NCCL may take SIGUSR1, so submitit sends SIGUSR2."""
    signals.install()
    signal.raise_signal(signum)
    assert signals.stop_requested()


def test_a_second_ctrl_c_ends_at_once():
    script = (
        "import os, signal; from runtime import signals\n"
        "signals.install_interrupt(); os.kill(os.getpid(), signal.SIGINT)\n"
        "assert signals.stop_requested(); os.kill(os.getpid(), signal.SIGINT); print('alive')"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGINT
    assert "Ctrl-C again ends at once" in done.stderr
    assert done.stdout == ""


def test_a_signal_after_the_save_changes_nothing():
    """This holds even while the interpreter shuts down, when Python's own handlers are gone."""
    script = (
        "import os, sys, signal; from runtime import signals\n"
        "class Late:\n"
        "    def __del__(self): os.kill(os.getpid(), signal.SIGTERM)\n"
        "signals.install(); signals.ignore(); sys.late = Late(); sys.exit(75)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT).returncode == SAVED_EXIT_CODE
