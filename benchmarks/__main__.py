"""`python -m benchmarks --data-dir DIR`: the speed of this project, as a table in results/."""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import systems
from benchmarks.report import Section, cores, cpu_name, file_name, heading
from benchmarks.worker import ROOT
from runtime.cpu import choose_precision
from runtime.errors import UserError, print_error
from runtime.files import write

SECTIONS: dict[str, Callable[[systems.Setting], Section]] = {
    "steps": systems.steps,
    "whole": systems.whole,
    "data": systems.data,
}


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    found.add_argument("--only", nargs="+", choices=SECTIONS, default=[], help="only these")
    found.add_argument("--rounds", type=int, default=7, help="of all contenders (default: 7)")
    found.add_argument("--data-dir", type=Path, default=Path("data"), help="contains MNIST/raw")
    found.add_argument("--out", type=Path, default=ROOT / "benchmarks/results", help="a folder")
    return found


def measure(options: argparse.Namespace) -> Path:
    """Measures the sections, prints each when it is done, and returns the file with all."""
    if not (options.data_dir / "MNIST/raw").is_dir():
        raise UserError(f"--data-dir {options.data_dir}: it contains no MNIST/raw.")
    start, found = time.perf_counter(), []
    with tempfile.TemporaryDirectory(prefix="ladder-bench-") as scratch:
        data_dir = options.data_dir.resolve()
        setting = systems.Setting(options.rounds, data_dir, Path(scratch))
        if reason := setting.without_keras():
            print(f"Keras is not run: {reason}.", flush=True)
        for name in options.only or SECTIONS:
            found.append(SECTIONS[name](setting).markdown())
            print(f"{found[-1]}\n", flush=True)
    precision = " because ".join(choose_precision("cpu"))
    top = heading(options.rounds, setting.versions, precision)
    top += f"\n- **Keras** {f'not run: {reason}' if reason else 'run on the CPU'}"
    top += f"\n- **In all** {time.perf_counter() - start:.0f} s"
    path = options.out / file_name(cpu_name(), cores(), options.only)
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, lambda file: file.write_text("\n\n".join([top, *found]) + "\n"))
    return path


if __name__ == "__main__":
    try:
        print(f"Written: {measure(parser().parse_args())}")
    except UserError as error:
        print_error(error)
        raise SystemExit(2) from None
