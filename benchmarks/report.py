"""Tables as Markdown, below the hardware, versions and date that they hold for."""

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks.worker import ROOT
from runtime.cpu import CPUINFO, cpu_entry, cpu_flags

PACKAGES = ("torch", "torchvision", "lightning", "numpy")


@dataclass
class Section:
    """One question: its answer as a table, and notes that explain the table."""

    title: str
    header: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """Formats the section; all columns but the first are right-aligned numbers."""
        ruler = ["---"] + ["---:"] * (len(self.header) - 1)
        lines = (self.header, ruler, *self.rows)
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return "\n\n".join([f"## {self.title}", table, *self.notes])


def cpu_name(cpuinfo: Path = CPUINFO) -> str:
    """Returns the processor's name, with family and model: clouds call several kinds the same."""
    name, family, model = (cpu_entry(k, cpuinfo) for k in ("model name", "cpu family", "model"))
    kind = f", family {family}, model {model}" if family and model else ""
    return (name or platform.processor() or platform.machine()) + kind


def cores() -> int:
    """Counts the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def commit() -> str:
    """Returns the checked-out commit, with a `+` if tracked code or configs differ from it."""

    def git(*args: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True)

    try:
        found = git("rev-parse", "--short=12", "HEAD").stdout.strip()
        changed = git("diff", "--quiet", "HEAD", "--", "*.py", "*.yaml").returncode == 1
    except OSError:  # Git is not installed
        return ""
    return found + "+" * changed


def heading(rounds: int, extra_versions: dict[str, str], precision: str) -> str:
    """Returns title, date, hardware and versions, and how a comparison in rounds is read."""
    bf16 = sorted(cpu_flags() & {"amx_bf16", "avx512_bf16"})
    versions = {"Python": platform.python_version()}
    versions |= {name: importlib.metadata.version(name) for name in PACKAGES} | extra_versions
    lines = [
        f"# Benchmark, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC\n",
        f"- **CPU** {cpu_name()}, {cores()} cores, {torch.get_num_threads()} threads; "
        f"bf16 by {', '.join(bf16) or 'emulation'}",
        f"- **GPU** {torch.cuda.get_device_name() if torch.cuda.is_available() else 'none'}",
        f"- **System** {platform.system()} {platform.release().partition('-')[0]}",
        f"- **Versions** {', '.join(f'{name} {version}' for name, version in versions.items())}",
        f"- **Commit** {commit() or 'unknown'}",
        f"- **Precision** {precision}",
        f"- Medians over {rounds} rounds, quartiles in brackets; contenders take turns within a "
        "round, each in its own process unless a section says otherwise. A ratio is the median "
        "over rounds of the quotient.",
    ]
    return "\n".join(lines if rounds else lines[:-1])


def file_name(hardware: str, count: int, sections: Sequence[str]) -> str:
    """Returns `<date>-<hardware>-<cores>-cores[-<sections>].md`; no sections means all."""
    slug = re.sub(r"[^a-z0-9]+", "-", hardware.lower().replace("(r)", "")).strip("-")
    only = "".join(f"-{name}" for name in sections)
    return f"{datetime.now(UTC):%Y-%m-%d}-{slug}-{count}-cores{only}.md"
