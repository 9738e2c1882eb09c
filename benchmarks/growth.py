"""How time and memory grow with the batch, the data and the number of processes."""

import time
from functools import partial

import torch

from benchmarks.context import Context
from benchmarks.report import Section
from benchmarks.steps import REUSE
from benchmarks.timing import digits, interleave, ratio, spread
from datamodules.loader import BatchLoader

BATCHES = (25, 50, 100, 200, 400, 800, 1600)
SIZES = (15_000, 60_000, 240_000)


def run(context: Context) -> list[Section]:
    return [batch_size(context), data_size(context), processes(context)]


def batch_size(context: Context) -> Section:
    commands = {
        str(size): context.on_images("bare", "lecture/gan", *REUSE, "--data.batch_size", str(size))
        for size in BATCHES
    }
    result = Section(
        "Growth with the batch: lecture GAN step, bare, reuse_fakes",
        ["batch", "ms a step", "images/s", "peak memory of the process, MB"],
    )
    with context.workers(commands) as workers:
        found = interleave(
            {name: partial(worker.run, 1) for name, worker in workers.items()}, context.rounds
        )
        for name, worker in workers.items():
            step = spread(found[name])
            rate = digits(int(name) / step.median)
            result.rows.append((name, step.text(1e3), rate, digits(worker.peak_mb)))
    return result


def epoch_seconds(loader: BatchLoader) -> float:
    """Seconds an example over one epoch, its shuffling included."""
    loader.set_epoch(loader.epoch + 1)
    start = time.perf_counter()
    for _ in loader:
        pass
    return (time.perf_counter() - start) / loader.num_examples


def data_size(context: Context) -> Section:
    loaders = {}
    for size in SIZES:
        pixels = torch.randint(256, (size, 1, 28, 28), dtype=torch.uint8)
        labels = torch.randint(10, (size,))
        loaders[f"{size:,}"] = BatchLoader((pixels, labels), 100, shuffle=True)
    for loader in loaders.values():
        epoch_seconds(loader)
    found = interleave(
        {name: partial(epoch_seconds, loader) for name, loader in loaders.items()}, context.rounds
    )
    result = Section("Growth with the data set: one epoch of the loader", ["images", "us an image"])
    result.rows = [(name, spread(seconds).text(1e6)) for name, seconds in found.items()]
    return result


def processes(context: Context) -> Section:
    one, two = "1 process", "2 processes"
    overlay = ["--config", "configs/trainer/ddp_cpu.yaml"]
    context.race(
        {
            one: context.on_images("fit", "lecture/gan", *REUSE),
            two: context.on_images("fit", "lecture/gan", *overlay, *REUSE),
        },
        4,
    )
    result = Section(
        "Growth with processes: lecture GAN through Trainer.fit, reuse_fakes, global batch 100",
        ["processes", "ms a step", "x one process"],
    )
    for name in (one, two):
        seconds = context.seconds[name]
        faster = ratio(context.seconds[one], seconds).text()
        result.rows.append((name, spread(seconds).text(1e3), faster))
    return result
