"""Growth of time and memory with the batch, the data and the number of processes."""

from collections import deque
from functools import partial

import torch

from benchmarks.context import Context
from benchmarks.report import Section
from benchmarks.steps import REUSE
from benchmarks.timing import digits, interleave, ratio, spread
from benchmarks.worker import seconds_of
from datamodules.loader import BatchLoader
from datamodules.sources import IMAGE_SHAPE

BATCHES = (25, 50, 100, 200, 400)
SIZES = (15_000, 60_000, 240_000)
OVERLAYS = {"1 process": (), "2 processes": ("--config", "configs/trainer/ddp_cpu.yaml")}


def run(context: Context) -> list[Section]:
    return [batch_size(context), data_size(context), processes(context)]


def batch_size(context: Context) -> Section:
    commands = {
        str(size): context.command("Bare", "lecture/gan", *REUSE, "--data.batch_size", str(size))
        for size in BATCHES
    }
    result = Section(
        "Growth with the batch: lecture GAN step, bare, reuse_fakes",
        ["batch", "ms per step", "images/s", "peak memory of the process, MB"],
    )
    with context.workers(commands) as workers:
        found = interleave(
            {name: partial(worker.run_warm, 1) for name, worker in workers.items()}, context.rounds
        )
        for name, worker in workers.items():
            step = spread(found[name])
            rate = digits(int(name) / step.median)
            result.rows.append((name, step.text(1e3), rate, digits(worker.peak_mb)))
    return result


def image_seconds(loader: BatchLoader) -> float:
    """Returns the seconds per image over one epoch, with its shuffling."""
    loader.set_epoch(loader.epoch + 1)
    return seconds_of(lambda: deque(loader, maxlen=0)) / loader.num_examples


def data_size(context: Context) -> Section:
    loaders = {}
    for size in SIZES:
        pixels = torch.randint(256, (size, *IMAGE_SHAPE), dtype=torch.uint8)
        labels = torch.randint(10, (size,))
        loaders[f"{size:,}"] = BatchLoader((pixels, labels), 100, shuffle=True)
    for loader in loaders.values():
        image_seconds(loader)
    found = interleave(
        {name: partial(image_seconds, loader) for name, loader in loaders.items()}, context.rounds
    )
    result = Section(
        "Growth with the data set: one epoch of the loader", ["images", "us per image"]
    )
    result.rows = [(name, spread(seconds).text(1e6)) for name, seconds in found.items()]
    return result


def processes(context: Context) -> Section:
    commands = {
        name: context.command("Fit", "lecture/gan", *overlay, *REUSE)
        for name, overlay in OVERLAYS.items()
    }
    context.race(commands, 4)
    result = Section(
        "Growth with processes: lecture GAN through Trainer.fit, reuse_fakes, global batch 100",
        ["processes", "ms per step", "x one process"],
    )
    for name in commands:
        seconds = context.seconds[name]
        faster = ratio(context.seconds["1 process"], seconds).text()
        result.rows.append((name, spread(seconds).text(1e3), faster))
    return result
