"""Repeats published scores: each seed is trained and scored, one after the other.

    python -m benchmarks.reproduce cgan [--seeds 0 1 2 3 4] [-- OPTIONS OF fit]

docs/quality.csv has a line for each run, also for those with `--split val`, on which settings are
chosen. A run with the same config, options and split is replaced. Runs with options of `fit` on
test images go to runs/trials.csv. benchmarks/measured.py writes the others into the documentation.
"""

import argparse
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from benchmarks.report import commit, cores, cpu_name
from benchmarks.worker import ROOT
from commands.fit.ladder_cli import LadderCLI
from runtime.checkpoints import newest, saved_step
from runtime.cpu import choose_precision
from runtime.errors import UserError, print_error
from runtime.files import write
from runtime.recorded import read_recorded

MNIST = ("--data.dataset", "mnist")  # a config may say `auto`, which falls back to small digits
PUBLISHED, TRIALS = ROOT / "docs/quality.csv", ROOT / "runs/trials.csv"
STAGES = {"test": "test", "val": "validate"}  # stage -> command
THREADS = os.environ.get("OMP_NUM_THREADS", "1")  # of each run
EXPERIMENT = ["part", "arguments", "options", "split"]  # one experiment, if these are equal
DECIDING = ("max_epochs", "max_steps", "precision", "gradient_clip_val", "callbacks")  # of trainer
WITHOUT_EFFECT = ("path", "data_dir", "fused")
WIDE = (
    "--model.generator.width", "64", "--model.trunk.width", "64",
    "--model.penalties.every", "8", "--trainer.max_steps", "3600",
)  # fmt: skip


class Part(NamedTuple):
    """A row of the published scores."""

    config: str
    options: tuple[str, ...] = ()  # of `fit`; `SEED` stands for the run's
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    split: str = "test"
    pictures: str = ""  # a folder or file of one's own in --data-dir; empty: a public data set
    judge: str = ""  # of `test`, for generators of such pictures


def fine_tuning(pictures: str, options: str = "") -> dict[str, Part]:
    """Returns a network that knows ImageNet and learns own pictures, and its linear probe.

    The seed also chooses the test images. The probe is the network as its training begins.
    """
    words = (*options.split(), "--data.split_seed", "SEED")
    probe = (*words, "--model.optimizer.lr", "0", "--trainer.max_steps", "1")
    part = Part("configs/own/finetune.yaml", words, pictures=pictures)
    name = f"finetune-{Path(pictures).stem}"
    return {name: part, f"{name}-probe": part._replace(options=probe)}


def trick(options: str = "") -> Part:
    """Returns one change of the plain GAN on which tricks are tried, on validation images."""
    return Part("configs/recipes/tricks.yaml", tuple(options.split()), split="val")


PARTS = {
    "cgan": Part("configs/cgan.yaml", MNIST),
    "cgan-wide": Part("configs/cgan.yaml", (*MNIST, *WIDE)),  # twice the width, as it was before
    "gan": Part("configs/gan.yaml", MNIST),
    "long": Part("configs/recipes/long.yaml", seeds=(0, 1, 2)),  # 36 minutes each
    "collapse": Part(
        "configs/cgan.yaml", (*MNIST, *WIDE, "--trainer.max_steps", "500"), seeds=(*range(20),)
    ),
    "fashion": Part("configs/recipes/fashion.yaml"),
    "vae": Part("configs/vae.yaml", MNIST),
    "vae-fashion": Part("configs/vae.yaml", ("--data.dataset", "fashion")),
    "flow": Part("configs/flow.yaml", MNIST),
    "flow-fashion": Part("configs/recipes/fashion_flow.yaml"),
    "drift": Part("configs/drift.yaml", MNIST),
    "drift-fashion": Part("configs/recipes/fashion_drift.yaml"),
    "mnist-dense": Part("configs/mnist_dense.yaml", MNIST),
    "mnist-cnn": Part("configs/mnist_cnn.yaml", MNIST),
    "mnist-fast": Part("configs/recipes/mnist_fast.yaml", seeds=(*range(50),)),
    "mnist-best": Part("configs/recipes/mnist_best.yaml"),
    "fashion-best": Part("configs/recipes/fashion_best.yaml"),
    "stacked": Part("examples/stacked_mnist/config.yaml", MNIST),
    "lecture-dense": Part("configs/lecture/mnist_dense.yaml", MNIST),
    "lecture-gan": Part("configs/lecture/gan.yaml", seeds=(0,)),
    "lecture-gan-40": Part("configs/lecture/gan.yaml", ("--trainer.max_epochs", "40"), (0,)),
    "lecture-cgan": Part("configs/lecture/cgan.yaml", seeds=(0,)),  # 100 minutes on two cores
    # Pictures of one's own: docs/measured.md says how to make these
    "own-cgan": Part("configs/own/cgan.yaml", seeds=(0, 1, 2), pictures="five", judge="pretrained"),
    "own-flow": Part("configs/own/flow.yaml", seeds=(0, 1, 2), pictures="five", judge="pretrained"),
    "own-flow-64": Part(
        "configs/own/flow.yaml",
        ("--data.size", "64", "--model.network.widths", "[32,64,96,128]"),
        seeds=(0, 1, 2),
        pictures="five",
        judge="pretrained",
    ),
    "own-classifier": Part("configs/own/classifier.yaml", pictures="emoji"),
    **fine_tuning("two", "--data.test_fraction 0.4 --data.val_fraction 0.25"),
    **fine_tuning(
        "digits.npz",
        "--data ImageArrays --data.test_fraction 0.5 --data.val_fraction 0.5 "
        "--model.network.size 96",
    ),
    **fine_tuning("five"),
    **fine_tuning("emoji"),
    # The tricks of ganhacks (github.com/soumith/ganhacks), which the slides link to
    "tricks-none": trick(),
    "tricks-minimax": trick("--model.discriminator.loss Minimax"),
    "tricks-uniform": trick("--model.latent uniform"),
    "tricks-smoothing": trick("--model.discriminator.loss.label_smoothing 0.1"),
    "tricks-sgd": trick(
        "--model.discriminator_optimizer SGD --model.discriminator_optimizer.lr 0.02"
    ),
    "tricks-noise": trick(
        "--model.augment InstanceNoise --model.augment.noise 0.2 --model.augment.noise_steps 400"
    ),
    "tricks-steps": trick("--model.discriminator_steps 2"),
    "tricks-minibatch_std": trick("--model.trunk.minibatch_std true"),
    "tricks-spectral_norm": trick("--model.spectral_norm true"),
    "tricks-r1": trick("--model.penalties.r1 1.0"),
    "tricks-ema": trick("--model.average.decay 0.99"),
    "tricks-cosine": trick("--model.schedule.shape cosine"),
    "tricks-relativistic": trick(
        "--model.discriminator.loss Relativistic --model.penalties.r1 1.0 --model.penalties.r2 1.0"
    ),
    "tricks-clusters": trick("--model SelfConditionedGAN --model.clusters 64"),
}


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python -m benchmarks.reproduce",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("part", nargs="?", help=f"one of {', '.join(PARTS)}")
    found.add_argument("--seeds", type=int, nargs="+", help="default: those of the part")
    found.add_argument(
        "--data-dir", type=Path, default=Path("data"), help="MNIST/raw, or own pictures"
    )
    found.add_argument("--split", choices=STAGES, help="val: to choose settings")
    found.add_argument("--out", type=Path, help="the CSV file (default: see above)")
    found.add_argument("--runs", type=Path, default=ROOT / "runs/quality", help="of the runs")
    return found


def train_and_score(part: Part, seed: int, data_dir: Path, folder: Path) -> dict[str, Any]:
    """Runs `fit`, then `test` or `validate`, each in its own process on the CPU.

    Returns:
        A record of the run: what it holds for, its scores, and as `real_...` those of real images.
        If a command failed, its `status` says why.

    Raises:
        UserError: `fit` refuses its options or finds no data, so that no run began.
    """
    folder, name = folder.resolve(), f"seed_{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.log"
    options = ["--seed_everything", str(seed), "--trainer.accelerator", "cpu"]
    options += [option.replace("SEED", str(seed)) for option in part.options]
    place = ["--trainer.default_root_dir", str(folder), "--experiment", name]
    data = "--data.path" if part.pictures else "--data.data_dir"
    place += [data, str(data_dir.resolve() / part.pictures)]
    timed = ["--trainer.callbacks+", "benchmarks.pacing.CpuSeconds"]
    record = facts_of(part, seed)
    before = cpu_seconds_of_children()
    code = launch(["fit", "--config", part.config, *options, *place, *timed], log)
    record["cpu_seconds_process"] = round(cpu_seconds_of_children() - before, 1)
    if code == 2:
        raise UserError(f"{part.config}: {last_error(log)}")
    if code:
        return record | {"status": f"fit failed: {last_error(log)}"}
    seconds = re.findall(r"CPU-seconds of training: ([\d.]+)", log.read_text())
    record["cpu_seconds_training"] = float(seconds[-1]) if seconds else None
    command = STAGES[part.split]
    judge = ["--quality.judge", part.judge] if part.judge else []
    if launch([command, "--ckpt_path", str(folder / name), "--trust=true", *judge], log):
        return record | {"status": f"{command} failed: {last_error(log)}"}
    checkpoint = newest(folder / name)
    assert checkpoint is not None
    found = read_recorded(checkpoint.parent.parent)[part.split][-1]
    real = {f"real_{name}": value for name, value in found.get("floor", {}).items()}
    return record | {"steps": saved_step(checkpoint)} | found["scores"] | real


def cpu_seconds_of_children() -> float:
    """Returns the CPU-seconds of all child processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def launch(args: Sequence[str], log: Path) -> int:
    """Runs cli.py, adds its output to a file, and returns its exit code."""
    environment = os.environ | {"OMP_NUM_THREADS": THREADS, "PYTHONUNBUFFERED": "1"}
    with log.open("ab") as file:
        done = subprocess.run(
            [sys.executable, "cli.py", *args], cwd=ROOT, env=environment,
            stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
    return done.returncode


def last_error(log: Path) -> str:
    """Returns the line of a log that says why a command failed."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines or ["it failed without a message"])[-1]


def facts_of(part: Part, seed: int) -> dict[str, Any]:
    """Returns what the numbers of a run hold for."""
    packages = (f"{name} {importlib.metadata.version(name)}" for name in ("torch", "lightning"))
    return {
        "seed": seed,
        "status": "done",
        "split": part.split,
        "config": part.config,
        "options": " ".join(part.options),
        "arguments": hash_of_arguments(part.config),
        "commit": commit(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "cpu": cpu_name(),
        "cores": cores(),
        "threads": THREADS,
        "auto_precision": choose_precision("cpu")[0],
        "versions": ", ".join([f"Python {platform.python_version()}", *packages]),
    }


@cache
def hash_of_arguments(config: str) -> str:
    """Returns a hash of all arguments that decide a config's results, with their defaults."""
    printed = io.StringIO()
    with redirect_stdout(printed), suppress(SystemExit):
        LadderCLI(["fit", "--config", str(ROOT / config), "--print_config"])
    built = yaml.safe_load(printed.getvalue())
    wanted = {name: built[name] for name in ("model", "data")}
    wanted |= {name: built["trainer"][name] for name in DECIDING}
    text = json.dumps(effective(wanted), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def effective(arguments: Any) -> Any:
    """Leaves out arguments that are off, such as new options, and those without an effect."""
    if not isinstance(arguments, dict):
        return arguments
    kept = {k: effective(v) for k, v in arguments.items() if k not in WITHOUT_EFFECT}
    return {name: value for name, value in kept.items() if value}


def add(record: dict[str, Any], file: Path) -> pd.DataFrame:
    """Adds a run to the file, in place of the same run, and returns all runs of the file."""
    known = (
        pd.read_csv(file, dtype={"threads": str, "arguments": str})
        if file.is_file()
        else pd.DataFrame()
    )
    new = pd.DataFrame([record])
    if len(known):
        again = of_experiment(known, record) & (known["seed"] == record["seed"])
        new = pd.concat([known[~again], new], ignore_index=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    write(file, lambda partial_file: new.to_csv(partial_file, index=False, float_format="%.6g"))
    return new


def of_experiment(runs: pd.DataFrame, record: dict[str, Any]) -> "pd.Series[bool]":
    """Returns for each run whether it differs from a record in its seed at most."""
    expected = pd.Series({name: record[name] for name in EXPERIMENT})
    return runs[EXPERIMENT].astype(object).fillna("").eq(expected).all(axis=1)


def table(runs: pd.DataFrame) -> str:
    """Formats the scores over the seeds of one experiment, beside those of real images."""
    done = runs[runs["status"] == "done"]
    scores = done.select_dtypes("number").drop(columns=["seed", "cores"]).dropna(axis=1, how="all")
    names = [name for name in scores if not name.startswith("real_")]
    rows = {name: scores[name].agg(["mean", "std", "count", "min", "max"]) for name in names}
    found = pd.DataFrame(rows).T
    found["real images"] = [scores.get(f"real_{n}", pd.Series(dtype=float)).mean() for n in names]
    return found.to_string(float_format="{:.4g}".format, na_rep="-")


def reproduce(options: argparse.Namespace, fit: Sequence[str]) -> bool:
    """Trains and scores all seeds; returns whether every run ended well."""
    if options.part not in PARTS:
        what = f"there is no part {options.part!r}" if options.part else "no part is given"
        raise UserError(f"{what}: set PART to one of {', '.join(PARTS)}")
    part = PARTS[options.part]
    part = part._replace(options=(*part.options, *fit), split=options.split or part.split)
    file = options.out or (TRIALS if fit and part.split == "test" else PUBLISHED)
    ended_well = True
    for seed in part.seeds if options.seeds is None else options.seeds:
        record = train_and_score(part, seed, options.data_dir, options.runs / options.part)
        record = {"part": options.part, **record}
        print(f"seed {seed}: {record['status']}", flush=True)
        ended_well &= record["status"] == "done"
        runs = add(record, file)
        runs = runs[of_experiment(runs, record)]
        print(table(runs), flush=True)
    print(f"Written: {file}")
    if ended_well and not fit and part.split == "test":
        print("Write it into documentation and configs: python -m benchmarks.measured")
    return ended_well


def main(args: list[str] | None = None) -> None:
    args = sys.argv[1:] if args is None else args
    place = args.index("--") if "--" in args else len(args)
    own, fit = args[:place], args[place + 1 :]
    try:
        ended_well = reproduce(parser().parse_args(own), fit)
    except UserError as error:
        print_error(error)
        raise SystemExit(2) from None
    raise SystemExit(0 if ended_well else 1)


if __name__ == "__main__":
    main()
