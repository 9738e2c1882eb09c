"""Random damage to bytes and texts, and rounds in a process that may crash or hang."""

import multiprocessing
import signal
import traceback
from collections.abc import Callable, Sequence
from random import Random

from tests.faults.ledger import Ledger, Row

SECONDS = 60.0  # after which a round hangs


def mutated(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """Returns bytes with one to three kinds of damage; `others` are files to mix them with."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        data = random.choice(_DAMAGES)(bytearray(data), others, random)
    return data


def _flip(data: bytearray, others: Sequence[bytes], random: Random) -> bytes:
    for _ in range(random.choice((1, 1, 2, 8))):
        if data:
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(data)


def _fill(data: bytearray, others: Sequence[bytes], random: Random) -> bytes:
    start, size = random.randrange(len(data) + 1), random.choice((1, 2, 4, 64, 512))
    size = min(size, len(data) - start)
    fill = random.choice((bytes(size), b"\xff" * size, random.randbytes(size)))
    return bytes(data[:start] + fill + data[start + size :])


def _cut(data: bytearray, others: Sequence[bytes], random: Random) -> bytes:
    return bytes(data[: random.randrange(len(data) + 1)])


def _remove(data: bytearray, others: Sequence[bytes], random: Random) -> bytes:
    start = random.randrange(len(data) + 1)
    return bytes(data[:start] + data[start + random.choice((1, 4, 100)) :])


def _insert(data: bytearray, others: Sequence[bytes], random: Random) -> bytes:
    start = random.randrange(len(data) + 1)
    return bytes(data[:start] + random.randbytes(random.choice((1, 4, 100))) + data[start:])


def _header(data: bytearray, others: Sequence[bytes], random: Random) -> bytes:
    start = random.randrange(16)
    return bytes(data[:start] + random.randbytes(1) + data[start + 1 :])


def _swap_blocks(data: bytearray, others: Sequence[bytes], random: Random) -> bytes:
    size = random.choice((1, 16, 400))
    a, b = sorted(random.randrange(len(data) + 1) for _ in range(2))
    b = max(b, a + size)
    first, second = data[a : a + size], data[b : b + size]
    return bytes(data[:a] + second + data[a + size : b] + first + data[b + size :])


def _concatenate(data: bytearray, others: Sequence[bytes], random: Random) -> bytes:
    other = random.choice(others)
    return random.choice((bytes(data) + other, other + bytes(data)))


def _splice(data: bytearray, others: Sequence[bytes], random: Random) -> bytes:
    cut = random.randrange(len(data) + 1)
    return bytes(data[:cut]) + random.choice(others)[cut:]


_DAMAGES: Sequence[Callable[[bytearray, Sequence[bytes], Random], bytes]] = (
    _flip, _fill, _cut, _remove, _insert, _header, _swap_blocks, _concatenate, _splice,
)  # fmt: skip


def run(ledger: Ledger, name: str, rounds: int, one_round: Callable[[Random], None]) -> None:
    """Runs rounds, each with its own generator, and records their row.

    `one_round` raises an AssertionError for a wrong result that came without a message. Any other
    error is a crash, like the death of the process. Rounds run in a forked process, so that neither
    a crash nor a hang ends the tests.
    """
    fork = multiprocessing.get_context("fork")
    state = fork.Value("q", -1)
    receive, send = fork.Pipe(duplex=False)
    process = fork.Process(target=_rounds, args=(rounds, one_round, state, send))
    process.start()
    send.close()
    try:
        problems: list[str] = receive.recv()
    except EOFError:  # it died
        process.join()
        hung = process.exitcode == -signal.SIGALRM
        problems = [f"round {state.value} {'hung' if hung else f'died ({process.exitcode})'}"]
    process.join()
    assert not problems, "\n".join(problems[:5])
    ledger.add(Row(name, rounds))


def _rounds(rounds: int, one_round: Callable[[Random], None], state: object, send: object) -> None:
    problems: list[str] = []
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for number in range(rounds):
        state.value = number  # type: ignore[attr-defined]
        signal.setitimer(signal.ITIMER_REAL, SECONDS)  # ends the process
        try:
            one_round(Random(number))
        except BaseException:
            problems.append(f"round {number}: {traceback.format_exc(chain=False)[-1500:]}")
            if len(problems) > 20:
                break
    signal.setitimer(signal.ITIMER_REAL, 0)
    send.send(problems)  # type: ignore[attr-defined]
