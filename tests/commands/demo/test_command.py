"""`demo` before it serves a page: its options, its library, its port."""

import importlib.util
import socket
from pathlib import Path

import pytest

from commands import demo
from tests.test_cli import fails, fresh


@pytest.fixture
def taken() -> int:
    """The number of a port that another program uses."""
    with socket.socket() as other:
        other.bind((demo.HOST, 0))
        other.listen()
        yield other.getsockname()[1]


def test_a_missing_library_is_named_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    line = fails(capsys, "demo", f"--runs={tmp_path}")
    assert line == 'error: demo needs Gradio: pip install -e ".[demo]"'


def test_a_port_that_is_taken_is_named_with_the_next(
    taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "require_gradio", lambda: None)
    line = fails(capsys, "demo", f"--runs={tmp_path}", f"--port={taken}")
    assert line == (
        f"error: --port {taken} cannot be opened (Address already in use). Another page may use "
        f"it: choose another port, such as --port {taken + 1}"
    )


def test_only_this_machine_can_reach_the_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.2 is another address of this machine, as that of a network card is."""
    with demo.listen(0) as listener:
        host, port = listener.getsockname()
        assert host == "127.0.0.1"
        with socket.create_connection((host, port), timeout=10):
            pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=10)


def test_mistakes_are_answered_without_torch() -> None:
    script = (
        "import sys, cli\n"
        "try: cli.main(['demo', '--port=1'])\n"
        "except SystemExit as stopped: print(stopped.code, 'torch' in sys.modules)"
    )
    assert fresh(script).stdout == "2 False\n"
