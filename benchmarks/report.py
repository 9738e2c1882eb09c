"""Tables as Markdown, under the hardware, versions and date that they hold for."""

import importlib.metadata
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import torch

from runtime.precision import cpu_flags

PACKAGES = ("torch", "torchvision", "lightning", "numpy")


@dataclass
class Section:
    """One question, its answer as a table, and what must be known to read it."""

    title: str
    header: Sequence[str] = ()
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        parts = [f"## {self.title}"]
        if self.rows:
            parts.append(table(self.header, self.rows))
        return "\n\n".join(parts + self.notes)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; every column but the first is numbers, and stands to the right."""
    ruler = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, ruler, *rows))


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What the processor calls itself."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text())
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def cores() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def versions(extra: dict[str, str]) -> str:
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    python = {"Python": platform.python_version()}
    return ", ".join(f"{name} {version}" for name, version in (python | found | extra).items())


def heading(rounds: int, extra_versions: dict[str, str], precision: str) -> str:
    """What every number below depends on."""
    bf16 = sorted(cpu_flags() & {"amx_bf16", "avx512_bf16"})
    lines = [
        f"# Benchmark, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"- **CPU** {cpu_name()}, {cores()} cores, {torch.get_num_threads()} threads; "
        f"bf16 by {', '.join(bf16) or 'emulation'}",
        f"- **GPU** {torch.cuda.get_device_name() if torch.cuda.is_available() else 'none'}",
        f"- **System** {platform.system()} {platform.release().partition('-')[0]}",
        f"- **Versions** {versions(extra_versions)}",
        f"- **Precision** {precision}",
        f"- Medians over {rounds} rounds, quartiles in brackets; contenders take turns within a "
        "round, each in a process of its own unless a section says otherwise. A ratio is the "
        "median over rounds of the quotient.",
    ]
    return lines[0] + "\n\n" + "\n".join(lines[1:])


def file_name(hardware: str, count: int, sections: Sequence[str]) -> str:
    """`<date>-<hardware>-<cores>-cores[-<sections>].md`; the sections where only some were run."""
    slug = re.sub(r"[^a-z0-9]+", "-", hardware.lower().replace("(r)", "")).strip("-")
    only = "".join(f"-{name}" for name in sections)
    return f"{datetime.now(UTC):%Y-%m-%d}-{slug}-{count}-cores{only}.md"


def write_atomically(path: Path, text: str) -> None:
    """A reader, or a run cut short, never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    os.replace(partial, path)
