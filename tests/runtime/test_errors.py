"""Which errors say that another process has ended."""

import pytest

from runtime.errors import is_lost_process

PAIR = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:537]"


@pytest.mark.parametrize(
    ("message", "lost"),
    [
        (f"{PAIR} Read error [127.0.0.1]:62619: Connection reset by peer. GLHF!", True),
        (f"{PAIR} Connection closed by peer [10.0.0.1]:4492", True),
        (f"{PAIR} writev [127.0.0.1]:4492: Broken pipe", True),
        ("NCCL error: ncclRemoteError: A call failed possibly due to a network error", True),
        ("failed to recv. Did the remote server shutdown or crash?", True),
        # Defects of a program, which need their traceback
        (f"{PAIR} op.preamble.length <= op.nbytes. 8 vs 4", False),
        ("[gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 1800000ms for recv", False),
        ("download: Connection reset by peer", False),
        ("mat1 and mat2 shapes cannot be multiplied", False),
    ],
)
def test_only_a_lost_connection_between_processes_counts(message: str, lost: bool) -> None:
    assert is_lost_process(RuntimeError(message)) is lost
    assert not is_lost_process(ValueError(message))
