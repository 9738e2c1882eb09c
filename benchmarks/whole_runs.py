"""The lecture's five systems against Keras, from process start to the end of the slides' epochs."""

import subprocess
from functools import partial
from typing import NamedTuple

from benchmarks.classifiers import KERAS
from benchmarks.context import Context
from benchmarks.report import Section
from benchmarks.timing import interleave, ratio, spread
from benchmarks.worker import ROOT, seconds_of

ROUNDS = 3
LADDER = ("Ladder", "Ladder, Trainer.fit")  # its names in `classifiers` and in `steps`


class System(NamedTuple):
    """A system of the lecture and its slides' epochs."""

    title: str
    epochs: int
    steps: int  # in one epoch
    config: str = ""  # with one, whole processes are measured


SYSTEMS = {  # by the prefix of the contenders in `Context.seconds`
    "iris": System("iris", 15, 120, "lecture/iris"),
    "dense": System("dense", 3, 1875, "lecture/mnist_dense"),
    "cnn": System("CNN", 4, 1875),
    "gan": System("GAN", 10, 600),
    "cgan": System("cGAN", 50, 600),  # without the five of the discriminator alone
}


def run(context: Context) -> list[Section]:
    section = Section(
        "From process start to the end of the slides' epochs",
        ["system", "epochs", "Keras, s", "Ladder, s", "x Keras"],
        notes=[
            f"iris, dense: whole processes, {ROUNDS} rounds. Ladder reads its data, validates, and "
            "writes logs, checkpoints and pictures; Keras is the slides' program, with their "
            "imports and pictures of the data, and trains on noise that it draws. The others are "
            "calculated: start to the end of the first step, and the slides' steps at the rate of "
            "each round of `steps` and `classifiers`."
        ],
    )
    if not context.has_keras:
        section.notes.append(context.no_keras)
        return [section]
    for name, system in SYSTEMS.items():
        keras, ladder = measured(context, name) if system.config else calculated(context, name)
        if keras and ladder:
            times = spread(keras).text(), spread(ladder).text(), ratio(keras, ladder).text()
            section.rows.append((system.title, str(system.epochs), *times))
        else:
            section.notes.append(f"{system.title}: not run, because its steps were not measured.")
    return [section]


def measured(context: Context, name: str) -> list[list[float]]:
    """Returns the seconds of whole processes of Keras and of Ladder, one value a round."""
    system = SYSTEMS[name]
    call = partial(subprocess.run, check=True, cwd=ROOT, capture_output=True)
    limit = ("--trainer.max_epochs", str(system.epochs))
    commands = {
        "Keras": [str(context.keras_python), KERAS, name, "whole"],
        "Ladder": context.command(None, system.config, *limit),
    }
    contenders = {who: partial(seconds_of, partial(call, args)) for who, args in commands.items()}
    return list(interleave(contenders, ROUNDS).values())


def calculated(context: Context, name: str) -> list[list[float]]:
    """Returns the same, from the start and the steps that other sections measured; or nothing."""
    steps = SYSTEMS[name].epochs * SYSTEMS[name].steps
    found: list[list[float]] = []
    for contenders in (("Keras",), LADDER):
        known = [f"{name}: {who}" for who in contenders if f"{name}: {who}" in context.seconds]
        seconds = context.seconds[known[0]] if known else []
        found.append([context.starts[known[0]] + steps * each for each in seconds])
    return found
