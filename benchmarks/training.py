"""Training as a user sees it: the lecture's epoch, and the time to 99 % of MNIST's test images."""

import json
import sys

from benchmarks.context import Context
from benchmarks.report import Section
from benchmarks.timing import digits, spread
from benchmarks.worker import Worker

SLIDE_SECONDS = 65.0
EPOCH_STEPS = 60_000 // 32
TIMED_STEPS = EPOCH_STEPS // 5  # of one round; an epoch is all of them alike
STEPS = 240  # half an epoch of batches of 128
SEEDS = (0, 1, 2)


def run(context: Context) -> list[Section]:
    return [epoch(context), to_99_percent(context)]


def epoch(context: Context) -> Section:
    name = "lecture CNN"
    context.race({name: context.on_images("fit", "lecture/mnist_cnn")}, TIMED_STEPS)
    seconds = spread([EPOCH_STEPS * step for step in context.seconds[name]])
    return Section(
        "The lecture's convolutional network: one epoch of 60,000 images, batch 32, Trainer.fit",
        ["", "s"],
        [("the slide", digits(SLIDE_SECONDS)), ("Ladder", seconds.text())],
        [f"A round times {TIMED_STEPS} steps and multiplies them up to {EPOCH_STEPS:,}."],
    )


def to_99_percent(context: Context) -> Section:
    result = Section(
        f"MNIST: is 99 % of the test images reached in {STEPS} steps? configs/mnist_cnn.yaml",
        ["run", "training s", "CPU-s", "test accuracy"],
    )
    if not context.real_mnist:
        result.notes.append("Not run: no MNIST here; give its folder by `--data-dir`.")
        return result
    for seed in SEEDS:
        found = train(context, seed)
        times = [digits(found[key]) for key in ("seconds", "cpu_seconds")]
        result.rows.append((f"seed {seed}", *times, f"{found['accuracy']:.2%}"))
    result.notes.append(
        f"Always {STEPS} steps, and every seed is shown; CPU-seconds are those of all "
        "cores together. The test images are read once a run, after training."
    )
    return result


def train(context: Context, seed: int) -> dict[str, float]:
    callback = json.dumps({"class_path": "benchmarks.accuracy.TestAccuracy"})
    command = [sys.executable, "cli.py", "fit", "--config", "configs/mnist_cnn.yaml"]
    command += ["--data.data_dir", str(context.data_dir), "--data.val_fraction", "0"]
    command += ["--trainer.default_root_dir", str(context.scratch), "--seed_everything", str(seed)]
    command += ["--trainer.max_steps", str(STEPS), "--trainer.callbacks+", callback]
    worker = Worker(f"accuracy {seed}", command, context.scratch, wait=False)
    try:
        return worker.answer()
    finally:
        worker.close()
