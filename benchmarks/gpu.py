"""`python -m benchmarks.gpu --data-dir DIR`: tests and speed on one or more GPUs, in 30 minutes.

A cell that takes too long or fails says so. `--cpu` tries the command with two steps of one model.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks.report import Section, cores, file_name, heading
from benchmarks.worker import ROOT
from runtime.errors import UserError, print_error
from runtime.files import write

MODELS = ("mnist_dense", "mnist_cnn", "cgan", "flow", "gan", "drift", "vae", "vgg16")
SCALED = ("mnist_cnn", "cgan", "flow")  # on several GPUs, with the same batch for each
BF16 = "--trainer.precision=bf16-mixed"
COLUMNS = {  # options of fit. Without tf32, the environment forbids it.
    "fp32": ["--trainer.precision=32-true"], "tf32": ["--trainer.precision=32-true"],
    "bf16": [BF16], "bf16, compiled": [BF16, "--trainer.compile=true"],
}  # fmt: skip
LIMIT, CELL = 1740, 40  # seconds, of everything and of a cell
NOISE = ("--data=benchmarks.scaling.Noise", "--data.batches=64")
PLAIN = ("--trainer.limit_val_batches=0", "--trainer.pictures=false", "--quality.samples=0")


class Bench:
    """Runs commands in a folder until the time is up."""

    def __init__(self, cpu: bool, folder: Path) -> None:
        self.cpu, self.folder, self.end = cpu, folder, time.monotonic() + LIMIT
        self.shared = [f"--trainer.default_root_dir={folder}"]
        self.shared += [f"--trainer.accelerator={'cpu' if cpu else 'gpu'}"]

    def run(
        self, *command: str, seconds: float, tf32: bool = True, **variables: str
    ) -> tuple[str, str]:
        """Runs a Python command; returns its output, and what went wrong or an empty text."""
        left = min(LIMIT if self.cpu else seconds, self.end - time.monotonic())  # a CPU may be busy
        if left < 5:
            return "", "not run: time is up"
        log = self.folder / "log"
        variables |= {"NVIDIA_TF32_OVERRIDE": f"{tf32:d}"}
        with log.open("w") as out:
            process = subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=out, stderr=out,
                                       env=os.environ | variables)  # fmt: skip
            try:
                problem = f"failed, code {process.returncode}" if process.wait(left) else ""
            except subprocess.TimeoutExpired:
                process.kill()
                problem = f"cut after {left:.0f} s"
            process.wait()
        text = log.read_text(errors="replace")
        return text, next((x for x in text.splitlines() if x.startswith("error")), problem)

    def speed(self, config: str, *options: str, **run: Any) -> str:
        """Returns the examples per second of a training, and what went wrong."""
        text, problem = self.run(
            "cli.py", "fit", f"--config=configs/{config}.yaml", *PLAIN, "--trainer.max_epochs=-1",
            f"--trainer.max_steps={2 if self.cpu else 1000}", "--trainer.log_every_n_steps=10",
            *self.shared, "--trainer.devices=1", *options, seconds=CELL, **run,
        )  # fmt: skip
        found = re.findall(r"(?:^Speed: |examples_per_s )([\d,]+)", text, re.MULTILINE)
        return " ".join([*found[-1:], *([f"({problem})"] if problem else [])])

    def score(self, data_dir: Path) -> str:
        """Trains all of `cgan.yaml`; returns its scores of test images."""
        short = ["--trainer.max_steps=2", "--data.dataset=digits", *PLAIN] if self.cpu else []
        command = ["cli.py", "fit", "--config=configs/cgan.yaml", "--experiment=scored"]
        data, began = f"--data.data_dir={data_dir}", time.monotonic()
        _, problem = self.run(*command, *self.shared, data, *short, seconds=480)
        spent, few = time.monotonic() - began, ["--quality.final_samples=100"] * self.cpu
        if not problem:
            _, problem = self.run("cli.py", "test", f"{self.folder}/scored", *few, seconds=180)
        for path in self.folder.glob("scored/*/metrics.json"):
            scores = json.loads(path.read_text())["test"][-1]["scores"].items()
            found = ", ".join(f"{k} {v:.3f}" for k, v in scores if isinstance(v, float))
            return f"{found} after {spent:.0f} s"
        return problem


def measure(options: argparse.Namespace) -> Path:
    """Measures all sections, prints each when it is done, and returns the file with all."""
    if not options.cpu and not torch.cuda.is_available():
        raise UserError(f"torch {torch.__version__} finds no CUDA device: --cpu tries the command.")
    with tempfile.TemporaryDirectory(prefix="ladder-bench-") as folder:
        bench, data_dir = Bench(options.cpu, Path(folder)), options.data_dir.resolve()
        found = [
            heading(0, {}, "that of the column"),
            *map(Section.markdown, sections(bench, data_dir)),
        ]
    hardware = "cpu try" if options.cpu else torch.cuda.get_device_name()
    path = options.out / file_name(hardware, cores(), ["gpu"])
    write(path, lambda file: file.write_text("\n\n".join(found) + "\n"))
    return path


def sections(bench: Bench, data_dir: Path) -> Iterator[Section]:
    """Yields the tables: tests and scores, models, places of the data, numbers of GPUs."""
    models, scaled = (names[: 1 if bench.cpu else None] for names in (MODELS, SCALED))
    first = Section("Tests and scores", ["what", "result"])
    if not bench.cpu:
        text, problem = bench.run("-m", "pytest", "-m", "gpu", seconds=300)
        first.rows.append(["`make test-gpu`", problem or text.splitlines()[-1]])
    first.rows.append(["all of `cgan.yaml`", bench.score(data_dir)])
    yield first
    table = Section("Examples per second", ["config", *COLUMNS])
    for name in models:
        cells = {k: bench.speed(name, *NOISE, *v, tf32=k != "fp32") for k, v in COLUMNS.items()}
        table.rows.append([name, *cells.values()])
    yield table
    places = ("device", "file")
    table = Section("Examples per second by place of a folder's images", ["config", *places])
    for k in range(256):
        path = bench.folder / f"photos/{k % 2}/{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((64, 64), 99).save(path)
    photos = (f"--data.path={bench.folder}/photos", "--data.size=64")
    for name in ("own/classifier", "own/cgan")[: 1 if bench.cpu else None]:
        speeds = [bench.speed(name, *photos, LADDER_EXAMPLES=place) for place in places]
        table.rows.append([name, *speeds])
    yield table
    counts = [n for n in (1, 2, 4, 8) if n <= max(1, torch.cuda.device_count())]
    table = Section("Examples per second by number of GPUs", ["config", *map(str, counts)])
    for name in scaled:
        ddp = ("--trainer.strategy=ddp", *NOISE)
        given = [(*ddp, f"--trainer.devices={n}", f"--data.batch_size={128 * n}") for n in counts]
        table.rows.append([name, *(bench.speed(name, *one) for one in given)])
    yield table


def main(args: list[str] | None = None) -> Path:
    """Measures what the command line says; returns the file with all tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--cpu", action="store_true", help="try the command on the CPU")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="contains MNIST/raw")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results", help="a folder")
    return measure(parser.parse_args(args))


if __name__ == "__main__":
    try:
        print(f"Written: {main()}")
    except UserError as error:
        print_error(error)
        raise SystemExit(2) from None
