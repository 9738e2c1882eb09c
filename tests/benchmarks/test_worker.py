"""Contenders in their own processes."""

import sys

import pytest

from benchmarks.worker import Worker, WorkerError, peak_memory_mb

ECHO = """
from benchmarks.worker import Line
line = Line()
print("not an answer")
line.ready(version="1")
while steps := line.receive():
    print("nor is this")
    line.report(steps * 0.5)
"""
SLEEP = """
import time
from benchmarks.worker import Line
for _ in Line().steps(version="1"):
    time.sleep(0.02)
"""


def test_a_worker_answers_until_it_is_closed(tmp_path):
    worker = Worker("an echo, twice", [sys.executable, "-c", ECHO], tmp_path)
    assert worker.hello == {"version": "1"}
    assert worker.run(4) == worker.run(1) == 0.5
    assert worker.peak_mb == 0 or 1 < worker.peak_mb < 1000
    worker.close()
    assert worker.process.returncode == 0
    assert "nor is this" in (tmp_path / "an-echo-twice.log").read_text()


def test_a_served_step_is_timed(tmp_path):
    worker = Worker("sleep", [sys.executable, "-c", SLEEP], tmp_path)
    assert worker.hello == {"version": "1"}
    assert 0.02 <= worker.run(3) < 0.2
    worker.close()
    assert worker.process.returncode == 0


def test_a_worker_that_ends_says_why(tmp_path):
    with pytest.raises(WorkerError, match="broken ended with 1(.|\n)*ValueError: too bad"):
        Worker("broken", [sys.executable, "-c", "raise ValueError('too bad')"], tmp_path)


def test_peak_memory_is_read_where_the_system_tells(tmp_path):
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t  2048 kB\n")
    assert peak_memory_mb(status) == 2.0
    assert peak_memory_mb(tmp_path / "missing") == 0.0
