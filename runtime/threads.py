"""Threads that compute together on a CPU, and the other programs that keep them waiting."""

import os
import time
from pathlib import Path
from typing import NamedTuple

SPINS = "10000"  # rounds of a wait before the thread sleeps; GNU OpenMP's own number is 300,000
USED = (1, 2, 3, 6, 7)  # columns of /proc/stat: user, nice, system, irq, softirq


class Usage(NamedTuple):
    """Processor time until now, in seconds."""

    cores: int  # on which this process may run
    clock: float
    own: float  # of this process
    all: float  # of all programs, on these cores


def sleep_soon() -> None:
    """Lets a thread sleep soon after it begins to wait for others. Call before torch is imported.

    GNU OpenMP's threads wait in a loop that keeps their core busy. If another program needs a core
    as well, the waiting thread takes it from the thread that still has work. A user's own setting
    is kept. No number changes.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def allowed() -> int:
    """Returns how many cores this process may use at a time, also in a container with a limit.

    joblib's own variable LOKY_MAX_CPU_COUNT is such a limit, too.
    """
    import joblib  # takes half a second

    return joblib.cpu_count()


def usage() -> Usage | None:
    """Returns the processor time used until now; None if the system does not tell."""
    if not (file := Path("/proc/stat")).exists():
        return None
    names = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    rows = [line.split() for line in file.read_text().splitlines()]
    ticks = sum(int(row[column]) for row in rows if row[:1] and row[0] in names for column in USED)
    seconds = ticks / os.sysconf("SC_CLK_TCK")
    return Usage(len(names), time.perf_counter(), time.process_time(), seconds)


def used_by_others(before: Usage, after: Usage) -> float:
    """Returns how many cores other programs used on average between two measurements."""
    others = (after.all - before.all) - (after.own - before.own)
    return max(0.0, others / (after.clock - before.clock))


def advice(threads: int, cores: int, allowed: int, others: float) -> str:
    """Returns what to do if threads wait for a core; an empty text if they need not.

    Args:
        threads: Number of threads among which each operation is divided, two or more.
        cores: Number of cores on which the process may run.
        allowed: Number of cores that it may use at a time; a container's limit can be lower.
        others: Number of cores that other programs use.
    """
    if threads > allowed:
        return (
            f"This training has {threads} threads for {allowed} core(s). They wait for each other, "
            f"so it is slow: start it again with OMP_NUM_THREADS={allowed}."
        )
    if threads + others > cores + 0.5:
        free = max(1, cores - round(others))
        return (
            f"Other programs use {others:.1f} of the {cores} cores. The {threads} threads of this "
            "training wait for each other, so it can become many times slower: stop those "
            f"programs, or start it again with OMP_NUM_THREADS={free}."
        )
    return ""
