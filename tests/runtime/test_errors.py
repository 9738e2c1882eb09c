"""Which errors say that another process has ended, and how a rank ends after one."""

import errno
import subprocess
import sys

import pytest

from runtime.errors import (
    INTERFACES,
    describe_lost_ranks,
    explain_disk_error,
    is_lost_process,
    print_error,
    printable,
)
from tests.conftest import ROOT

PAIR = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:537]"
BUFFER = "[/pytorch/third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:81]"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\x1b[2J\x07", r"a\x1b[2J\x07"),
        ("a\r\nb\0", r"a\r\nb\x00"),
        ("\x9b31m", r"\x9b31m"),  # begins a command, as ESC [ does
        ("\u202egpj.exe", r"\u202egpj.exe"),  # turns the line around
        ("\udcff", r"\udcff"),  # of a file name that is not UTF-8, which cannot be printed
        ("K\u00e4tzchen \u732b\u3000\u72ac", "K\u00e4tzchen \u732b\u3000\u72ac"),
        ("\u0915\u094d\u200d\u0937", "\u0915\u094d\u200d\u0937"),  # a Hindi letter with a joiner
    ],
)
def test_names_command_no_terminal(name, shown, capsys):
    assert printable(name) == shown
    print_error(f"{name} is no class")
    (line,) = capsys.readouterr().err.splitlines()
    assert printable(line) == line


@pytest.mark.parametrize(
    ("message", "lost"),
    [
        (f"{PAIR} Read error [127.0.0.1]:62619: Connection reset by peer. GLHF!", True),
        (f"{PAIR} Connection closed by peer [10.0.0.1]:4492", True),
        (f"{PAIR} writev [127.0.0.1]:4492: Broken pipe", True),
        ("NCCL error: ncclRemoteError: A call failed possibly due to a network error", True),
        ("failed to recv. Did the remote server shutdown or crash?", True),
        (f"{PAIR} Connection timed out", True),
        (f"{BUFFER} Timed out waiting 600000ms for recv operation to complete", True),
        ("Application timeout caused pair closure", True),
        ("Timed out after 601 seconds waiting for clients. 1/2 clients joined.", True),
        ("Gloo connectFullMesh failed with [/pytorch/pair.h:311] Connect timeout [none]", True),
        ("The client socket has timed out after 600000ms while trying to connect to (a, 1).", True),
        # Defects of a program, which need their traceback
        (f"{PAIR} op.preamble.length <= op.nbytes. 8 vs 4", False),
        ("wait timeout after 600000ms, keys: /key", False),
        ("download: Connection reset by peer", False),
        ("mat1 and mat2 shapes cannot be multiplied", False),
    ],
)
def test_only_a_lost_connection_between_processes_counts(message, lost):
    assert is_lost_process(RuntimeError(message)) is lost
    assert not is_lost_process(ValueError(message))


@pytest.mark.parametrize("chosen", [None, "v7"])
def test_ranks_that_do_not_find_each_other_name_the_network(chosen, monkeypatch, capsys):
    for name in INTERFACES:
        monkeypatch.delenv(name, raising=False)
    if chosen:
        monkeypatch.setenv(INTERFACES[0], chosen)
    monkeypatch.setenv("RANK", "1")  # each rank prints it, because each sees its own network
    monkeypatch.setattr("socket.gethostname", lambda: "localhost")
    monkeypatch.setattr("socket.if_nameindex", lambda: [(1, "lo"), (2, "ib0")])
    print_error(describe_lost_ranks(RuntimeError("connectFullMesh failed")))
    tried = "GLOO_SOCKET_IFNAME=v7" if chosen else "127.0.0.1, the address of this host's name"
    (line,) = capsys.readouterr().err.splitlines()
    assert f"cannot connect by {tried}. Set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME to " in line
    assert line.endswith("here one of lo, ib0.")


def test_a_full_disk_says_how_much_is_free_though_the_folder_is_gone(tmp_path):
    path = tmp_path / "gone" / "run" / "last.ckpt"
    text = explain_disk_error(OSError(errno.ENOSPC, "", str(path)))
    assert text.startswith(f"{path}: No space left on device (")
    assert "MB are free). Make room, then repeat the command." in text


FAILING_RANK = """
import time
import torch.distributed as dist
import cli
from runtime.errors import RunFailedError

class Gloo:  # which lets go of its threads when the others do
    def __del__(self, sleep=time.sleep):
        sleep(60)

gloo = Gloo()

def fail(*_):
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    raise {error}("cannot go on")

cli.commands.run = fail
cli.main()
"""


@pytest.mark.parametrize("error", ["RunFailedError", "KeyError"])
def test_a_rank_that_fails_does_not_wait_for_others(error):
    """Two of 53 kills of one rank of four left ranks that waited for each other in their end."""
    ended = subprocess.run(
        [sys.executable, "-c", FAILING_RANK.format(error=error)],
        cwd=ROOT, capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "cannot go on" in ended.stderr
