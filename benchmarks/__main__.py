"""`python -m benchmarks`: how fast this project is here, as a table in benchmarks/results/."""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import data_path, gpu, growth, limits, startup, steps, tax, training
from benchmarks.context import Context, find_mnist
from benchmarks.report import Section, cores, cpu_name, file_name, heading, write_atomically
from benchmarks.worker import ROOT
from runtime.precision import choose_precision

SECTIONS: dict[str, Callable[[Context], list[Section]]] = {
    "steps": steps.run,
    "limits": limits.run,
    "tax": tax.run,
    "data": data_path.run,
    "training": training.run,
    "startup": startup.run,
    "growth": growth.run,
    "gpu": gpu.run,
}


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    found.add_argument("--only", nargs="+", choices=SECTIONS, default=[], help="not all sections")
    found.add_argument("--rounds", type=int, default=7, help="of all contenders (default: 7)")
    found.add_argument(
        "--data-dir",
        type=Path,
        default=Path("data"),
        help="holds MNIST/raw (default: data/); without it, images of noise are trained on",
    )
    found.add_argument("--out", type=Path, default=ROOT / "benchmarks/results", help="a folder")
    return found


def measure(names: list[str], context: Context) -> list[str]:
    """The sections as Markdown, each printed once it is there."""
    found = []
    for name in names:
        start = time.perf_counter()
        sections = SECTIONS[name](context)
        took = f"Measured in {time.perf_counter() - start:.0f} s."
        text = "\n\n".join(section.markdown() for section in sections)
        print(f"{text}\n\n{took}\n", flush=True)
        found.append(f"{text}\n\n{took}")
    return found


def main() -> None:
    options = parser().parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="ladder-bench-") as scratch:
        data_dir, real = find_mnist(options.data_dir, Path(scratch))
        context = Context(options.rounds, data_dir.resolve(), real, Path(scratch))
        found = measure(options.only or list(SECTIONS), context)
        extra = {k: v for k, v in context.versions.items() if isinstance(v, str)}
    chosen = " because ".join(choose_precision("auto"))
    top = heading(options.rounds, extra, f"Ladder {chosen}; peers fp32")
    data = "MNIST" if real else "noise of MNIST's shape (no MNIST here)"
    top += f"\n- **Data** {data}\n- **In all** {time.perf_counter() - start:.0f} s"
    on_gpu = options.only == ["gpu"] and torch.cuda.is_available()
    hardware = torch.cuda.get_device_name() if on_gpu else cpu_name()
    path = options.out / file_name(hardware, cores(), options.only)
    write_atomically(path, "\n\n".join([top, *found]) + "\n")
    print(f"Written: {path}")


if __name__ == "__main__":
    main()
