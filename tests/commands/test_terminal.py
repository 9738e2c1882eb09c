"""Messages that ask nothing of the user are hidden, and nothing else."""

import logging
import threading

import pytest

from commands import terminal


@pytest.mark.parametrize(("error", "shown"), [(OSError(5, "refused"), 0), (ValueError("bug"), 1)])
def test_a_thread_is_silent_about_the_disk_alone(error, shown, monkeypatch):
    seen: list[object] = []
    monkeypatch.setattr(threading, "excepthook", seen.append)

    def work() -> None:
        raise error

    with terminal.without_irrelevant_messages():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(seen) == shown
    assert threading.excepthook == seen.append


def test_a_warning_is_one_line_and_commands_no_terminal():
    assert terminal._one_line("a\nclass \x1b[2J") == "warning: a class \\x1b[2J\n"


def test_an_interrupt_of_lightning_is_told_as_that_of_a_tool(caplog):
    logger = logging.getLogger(terminal.LOGGERS[0])
    with terminal.without_irrelevant_messages(), caplog.at_level("INFO"):
        logger.propagate, before = True, logger.propagate
        logger.warning("\nDetected KeyboardInterrupt, attempting graceful shutdown ...")
        logger.propagate = before
    assert caplog.messages == ["Stopped by Ctrl-C."]
