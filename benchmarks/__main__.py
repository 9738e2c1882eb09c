"""`python -m benchmarks`: measures the speed of this project, as a table in benchmarks/results/."""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks import (
    classifiers,
    data_path,
    growth,
    limits,
    startup,
    steps,
    tax,
    training,
    whole_runs,
)
from benchmarks.context import Context, find_mnist
from benchmarks.report import Section, cores, cpu_name, file_name, heading
from benchmarks.worker import ROOT
from runtime.cpu import choose_precision
from runtime.files import write

SECTIONS: dict[str, Callable[[Context], list[Section]]] = {
    "steps": steps.run,
    "classifiers": classifiers.run,
    "whole": whole_runs.run,  # uses the results of both
    "limits": limits.run,  # uses the results of `steps`
    "tax": tax.run,
    "data": data_path.run,
    "training": training.run,
    "startup": startup.run,
    "growth": growth.run,
    "gpu": steps.run_on_gpu,
}


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    found.add_argument("--only", nargs="+", choices=SECTIONS, default=[], help="only these")
    found.add_argument("--rounds", type=int, default=7, help="of all contenders (default: 7)")
    found.add_argument(
        "--data-dir",
        type=Path,
        default=Path("data"),
        help="contains MNIST/raw (default: data/); without it, images of noise are trained on",
    )
    found.add_argument("--out", type=Path, default=ROOT / "benchmarks/results", help="a folder")
    return found


def measure(names: list[str], context: Context) -> list[str]:
    """Returns the sections as Markdown, and prints each when it is done."""
    found = []
    for name in names:
        start = time.perf_counter()
        text = "\n\n".join(section.markdown() for section in SECTIONS[name](context))
        found.append(f"{text}\n\nMeasured in {time.perf_counter() - start:.0f} s.")
        print(f"{found[-1]}\n", flush=True)
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
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, lambda file: file.write_text("\n\n".join([top, *found]) + "\n"))
    print(f"Written: {path}")


if __name__ == "__main__":
    main()
