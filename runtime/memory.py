"""Memory that this process can still take."""

import math
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")  # of a container or a SLURM job, version 2


def available_memory() -> float:
    """Returns the bytes that are free here, also within a container; infinite if unknown."""
    free = math.inf
    try:
        sizes = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
        free = 1024.0 * int(sizes["MemAvailable"].split()[0])  # in kB
    except (OSError, KeyError, ValueError):  # not Linux
        pass
    try:
        limit, used = ((CGROUP / f"memory.{name}").read_text() for name in ("max", "current"))
        return min(free, float(limit) - float(used))
    except (OSError, ValueError):  # no limit
        return free


def gigabytes(size: float) -> str:
    """Formats a number of bytes, such as `12.3 GB`."""
    return f"{size / 1e9:,.1f} GB"
