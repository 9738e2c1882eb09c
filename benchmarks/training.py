"""Time to 99 % of MNIST's test images."""

from contextlib import closing

from benchmarks.context import Context
from benchmarks.report import Section
from benchmarks.timing import digits
from benchmarks.worker import Worker

STEPS = 240  # half an epoch of batches of 128
SEEDS = (0, 1, 2)


def run(context: Context) -> list[Section]:
    return [to_99_percent(context)]


def to_99_percent(context: Context) -> Section:
    result = Section(
        f"MNIST: is 99 % of the test images reached in {STEPS} steps? configs/mnist_cnn.yaml",
        ["run", "training s", "CPU-s", "test accuracy"],
    )
    if not context.real_mnist:
        result.notes.append("Not run: no MNIST here; set its folder by `--data-dir`.")
        return result
    for seed in SEEDS:
        found = train(context, seed)
        times = [digits(found[key]) for key in ("seconds", "cpu_seconds")]
        result.rows.append((f"seed {seed}", *times, f"{found['accuracy']:.2%}"))
    result.notes.append(
        f"Always {STEPS} steps, and every seed is shown; CPU-seconds are summed over all cores. "
        "The test images are read once per run, after training."
    )
    return result


def train(context: Context, seed: int) -> dict[str, float]:
    options = {
        "--data.val_fraction": 0,
        "--seed_everything": seed,
        "--trainer.max_steps": STEPS,
    }
    args = [str(part) for option in options.items() for part in option]
    command = context.command("TestAccuracy", "mnist_cnn", *args)
    with closing(Worker(f"accuracy {seed}", command, context.scratch, wait=False)) as worker:
        return worker.answer()
