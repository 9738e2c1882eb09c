"""CPU-seconds to 99 % of MNIST's test images."""

from contextlib import closing
from statistics import fmean

from benchmarks.context import Context
from benchmarks.report import Section
from benchmarks.timing import digits
from benchmarks.worker import Worker

CONFIG = "recipes/mnist_fast"
SEEDS = (0, 1, 2, 3, 4)


def run(context: Context) -> list[Section]:
    return [to_99_percent(context)]


def to_99_percent(context: Context) -> Section:
    result = Section(
        f"MNIST: 99 % of the test images, configs/{CONFIG}.yaml",
        ["run", "CPU-seconds of training", "test accuracy"],
    )
    if not context.real_mnist:
        result.notes.append("Not run: no MNIST here; set its folder by `--data-dir`.")
        return result
    found = [train(context, seed) for seed in SEEDS]
    for seed, run in zip(SEEDS, found, strict=True):
        result.rows.append((f"seed {seed}", digits(run["cpu_seconds"]), f"{run['accuracy']:.2%}"))
    seconds, accuracy = (fmean(run[key] for run in found) for key in ("cpu_seconds", "accuracy"))
    result.rows.append(("mean", digits(seconds), f"{accuracy:.2%}"))
    result.notes.append(
        "One thread; the start of the process does not count. The number of steps was chosen on "
        "validation images. The test images are read once per run, after training."
    )
    return result


def train(context: Context, seed: int) -> dict[str, float]:
    fit = context.command("TestAccuracy", CONFIG, "--seed_everything", str(seed))
    command = ["env", "OMP_NUM_THREADS=1", *fit]
    with closing(Worker(f"accuracy {seed}", command, context.scratch, wait=False)) as worker:
        return worker.answer()
