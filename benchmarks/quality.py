"""Image quality beside public conditional GANs that train for the same time, on one thread each.

    python -m benchmarks.quality [--cpu-seconds 600] [--seeds 0 1 2] [-- OPTIONS OF fit]

Trains each peer (`peer_cgan.py`) for the given time and Ladder's config for as many steps as it
says, scores all by the same judge on the test images, as `test` does, and writes a table into
benchmarks/results/. A run that fails is a row of the table.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import yaml
from torch import Tensor

from benchmarks.report import Section, conditions, cores, cpu_name, file_name
from benchmarks.scored_run import Trial, launch, split_options, threads, train_and_score
from benchmarks.worker import ROOT
from commands.errors import user_errors
from datamodules import Images
from metrics import SCORES, GeneratorQuality, LabelledImages, QualityReport, Setting
from metrics.judge import load_judge
from runtime.cpu import choose_precision
from runtime.errors import announce
from runtime.files import write

PEERS = {  # arguments of benchmarks.peer_cgan
    "dcgan": ("dcgan",),
    "dcgan-bf16": ("dcgan", "--bf16"),
    "mlp": ("mlp",),
}
LADDER = "ladder"
CONTENDERS = [
    LADDER,
    *PEERS,
]  # ladder first: a mistake in its options shows before an hour is spent
COLUMNS = ("frechet", "label_accuracy", "precision", "recall", "gan_train")
NOTES = [
    "dcgan: the conditional DCGAN of dpgan-revisit (Bie, Kamath and Zhang 2023); dcgan-bf16: the "
    "same in bf16 mixed precision; mlp: cgan of PyTorch-GAN. All have their authors' settings and "
    "are plain PyTorch (benchmarks/peer_cgan.py). The authors of dcgan train 45,000 steps.",
    "CPU-seconds: of a peer, its training alone; of ladder, the whole process of `fit`, with its "
    "start, validation, scores, figures and checkpoints.",
    "Every contender learns from the training images without the validation images. The test "
    "images are read once per run, after training.",
]


class Result(NamedTuple):
    """A trained contender: what it took and its scores, or the reason why it has none."""

    contender: str
    seed: int
    cpu_seconds: float = 0.0
    steps: int = 0
    batch_size: int = 0
    scores: Mapping[str, float | None] | None = None
    floor: Mapping[str, float | None] | None = None  # the scores of real images
    reason: str = ""


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python -m benchmarks.quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("--cpu-seconds", type=float, default=600, help="of a peer (default: 600)")
    found.add_argument("--seeds", type=int, nargs="+", default=[0])
    found.add_argument("--only", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    found.add_argument("--config", default="configs/cgan.yaml", help="Ladder's contender")
    found.add_argument("--dataset", default="mnist")
    found.add_argument("--data-dir", type=Path, default=Path("data"), help="contains MNIST/raw")
    found.add_argument("--count", type=int, default=10_000, help="images of a peer to score")
    found.add_argument("--out", type=Path, default=ROOT / "benchmarks/results", help="a folder")
    return found


def score(images: Tensor, labels: Tensor, data: Images) -> QualityReport:
    """Scores generated images uint8 (N, 1, 28, 28) of classes (N,) as `test` scores a GAN's."""
    assert data.splits is not None
    judge = load_judge(data.judge or "mnist")
    train, test = data.splits.train.take(torch.arange(len(images))), data.splits.test
    setting = Setting(judge.image_shape, judge.num_features, judge.num_classes)
    real = LabelledImages(*train), LabelledImages(*test)
    quality = GeneratorQuality([s for s in SCORES if "test" in s.stages], setting, real)
    compared = (quality.test_set, *test), (quality.train_set, *train)
    for samples, inputs, targets in (*compared, (quality.generated, images, labels)):
        for index in torch.arange(min(len(images), len(targets))).split(500):
            batch = inputs[index]
            samples.add(*judge.judge(batch), targets[index], index, batch)
    return quality.compute()


def run_peer(
    name: str, seed: int, options: argparse.Namespace, data: Images, scratch: Path
) -> Result:
    """Trains a peer in its own process and scores its samples."""
    file = scratch / "samples.npz"
    place = ["--dataset", options.dataset, "--data-dir", str(options.data_dir.resolve())]
    ended = launch(
        ["-m", "benchmarks.peer_cgan", *PEERS[name], *place, "--seed", str(seed),
         "--cpu-seconds", str(options.cpu_seconds), "--count", str(options.count),
         "--out", str(file)],
        scratch / f"{name}.log",
    )  # fmt: skip
    if ended.code:
        return Result(name, seed, ended.cpu_seconds, reason=ended.error)
    with np.load(file, allow_pickle=False) as found:
        images, labels = (torch.from_numpy(found[key]) for key in ("images", "labels"))
        took = float(found["cpu_seconds"]), int(found["steps"]), int(found["batch_size"])
    report = score(images[:, None], labels, data)
    return Result(name, seed, *took, report.scores, report.floor)


def run_ladder(seed: int, options: argparse.Namespace, fit: Sequence[str], scratch: Path) -> Result:
    """Trains Ladder's config by `fit` and scores it by `test`."""
    trial = Trial(options.config, seed, ("--data.dataset", options.dataset, *fit))
    record = train_and_score(trial, options.data_dir, scratch)
    seconds = record["cpu_seconds"]["fit"]
    if record["status"] == "failed":
        return Result(LADDER, seed, seconds, reason=record["reason"])
    config = next((scratch / f"seed_{seed}").glob("*/config.yaml"))
    batch_size = yaml.safe_load(config.read_text())["data"]["init_args"]["batch_size"]
    scores, floor = record["scores"], record["real_images"]
    return Result(LADDER, seed, seconds, record["steps"], batch_size, scores, floor)


def summary(results: Sequence[Result]) -> Section:
    """Returns a row for each contender, with means and standard deviations over its seeds."""
    header = ["contender", "seeds", "CPU-s", "steps", "images seen", *COLUMNS]
    section = Section("Image quality", header, notes=NOTES)
    for name in dict.fromkeys(result.contender for result in results):
        own = [r for r in results if r.contender == name]
        done = [r for r in own if r.scores is not None]
        seeds = f"{len(done)} of {len(own)}" if len(done) < len(own) else str(len(own))
        taken = [(r.cpu_seconds, r.steps, r.steps * r.batch_size) for r in done]
        cells = [f"{statistics.fmean(values):,.0f}" for values in zip(*taken, strict=True)]
        found = [r.scores for r in done if r.scores]
        cells += [spread_of([scores.get(key) for scores in found]) for key in COLUMNS if found]
        section.rows.append([name, seeds, *(cells or ["-"] * (len(header) - 2))])
    if floor := next((r.floor for r in results if r.floor), None):
        shown = (spread_of([floor.get(key)]) for key in COLUMNS)
        section.rows.append(["real training images", "", "", "", "", *shown])
    return section


def spread_of(found: Sequence[float | None]) -> str:
    """Formats the mean to four digits, with the standard deviation if there are several values."""
    values = [value for value in found if value is not None]
    if not values:
        return "-"
    deviation = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4g}{deviation}"


def runs(results: Sequence[Result]) -> Section:
    """Returns a row for each run; a failed one says why."""
    reasons = [f"{r.contender}, seed {r.seed}, failed: {r.reason}" for r in results if r.reason]
    header = ["contender", "seed", "CPU-s", "steps", *COLUMNS]
    return Section("Runs", header, [row_of(result) for result in results], reasons)


def row_of(result: Result) -> list[str]:
    scores = result.scores
    shown = [spread_of([scores.get(key)]) if scores else "failed" for key in COLUMNS]
    seconds, steps = f"{result.cpu_seconds:,.0f}", f"{result.steps:,}"
    return [result.contender, str(result.seed), seconds, steps, *shown]


def compare(options: argparse.Namespace, fit: Sequence[str]) -> list[Result]:
    """Trains and scores every contender with every seed, one after the other."""
    data = Images(dataset=options.dataset, data_dir=str(options.data_dir))
    data.prepare_data()
    data.setup()
    results = []
    for seed in options.seeds:
        for name in options.only:
            with tempfile.TemporaryDirectory(prefix="ladder-quality-") as folder:
                scratch = Path(folder)
                if name == LADDER:
                    results.append(run_ladder(seed, options, fit, scratch))
                else:
                    results.append(run_peer(name, seed, options, data, scratch))
            print(*row_of(results[-1]), sep="  ", flush=True)
    return results


def main(args: list[str] | None = None) -> None:
    own, fit = split_options(sys.argv[1:] if args is None else args)
    options = parser().parse_args(own)
    torch.set_num_threads(int(threads()))
    precision = f"ladder {' because '.join(choose_precision('cpu'))}; peers fp32, except dcgan-bf16"
    top = conditions({}, precision)
    try:
        results = compare(options, fit)
    except user_errors() as error:
        announce(error)
        raise SystemExit(2) from None
    top.append(
        f"- **Settings** peers {options.cpu_seconds:g} CPU-seconds, seeds {options.seeds}, "
        f"data {options.dataset}; ladder `{' '.join([options.config, *fit])}`"
    )
    text = "\n\n".join(["\n".join(top), summary(results).markdown(), runs(results).markdown()])
    path = options.out / file_name(cpu_name(), cores(), ["quality"])
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, lambda file: file.write_text(f"{text}\n"))
    print(f"{text}\nWritten: {path}")


if __name__ == "__main__":
    main()
