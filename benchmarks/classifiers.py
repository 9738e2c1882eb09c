"""The lecture's classifiers against Keras: a training step, and a whole run from process start."""

import subprocess
from functools import partial

from benchmarks.context import Context
from benchmarks.report import Section
from benchmarks.timing import digits, ratio, spread
from benchmarks.worker import ROOT, seconds_of

BF16 = ("--trainer.precision", "bf16-mixed")
KERAS = "benchmarks/keras_classifiers.py"
SYSTEMS = {  # name in Keras -> title, config, steps per round, the slides' epochs
    "iris": ("iris, batch 1", "lecture/iris", 1200, 15),
    "dense": ("dense, batch 32", "lecture/mnist_dense", 375, 3),
    "cnn": ("CNN, batch 32", "lecture/mnist_cnn", 375, 4),
}
EPOCH_STEPS = 60_000 // 32


def run(context: Context) -> list[Section]:
    return [steps(context), whole_runs(context)]


def steps(context: Context) -> Section:
    """Measures training steps, from the second epoch on."""
    section = Section(
        "The lecture's classifiers: one training step",
        ["system", "contender", "ms per step", "examples/s", "x Keras"],
        notes=[
            "Keras: one call of the slides' `fit` per round, after a first call that traces. "
            "Ladder: Trainer.fit with its callbacks, loggers and checkpoints. Both train in "
            "float32 unless the line says bf16."
        ],
    )
    if not context.has_keras:
        section.notes.append(context.no_keras)
    for name, (title, config, count, _) in SYSTEMS.items():
        commands = {
            f"{name}: Keras": [str(context.keras_python), KERAS, name],
            f"{name}: Ladder": context.command("Fit", config),
        }
        if name == "cnn":
            commands[f"{name}: Ladder, bf16"] = context.command("Fit", config, *BF16)
        if not context.has_keras:
            del commands[f"{name}: Keras"]
        context.race(commands, count)
        batch = int(title.split()[-1])
        for contender in commands:
            seconds, peer = context.seconds[contender], context.seconds.get(f"{name}: Keras")
            step = spread(seconds)
            section.rows.append(
                (
                    title,
                    contender.partition(": ")[2],
                    step.text(1e3),
                    digits(batch / step.median),
                    ratio(peer, seconds).text() if peer else "not run",
                )
            )
    section.notes.append(epoch(context))
    return section


def epoch(context: Context) -> str:
    """Returns the time of an epoch of the convolutional network, as a sentence."""
    times = [
        f"{name.partition(': ')[2]} {digits(spread(seconds).median * EPOCH_STEPS)} s"
        for name, seconds in context.seconds.items()
        if name.startswith("cnn: ")
    ]
    return f"An epoch of the CNN, {EPOCH_STEPS:,} steps: the slide 65 s, {', '.join(times)}."


def whole_runs(context: Context) -> Section:
    """Measures whole processes once: imports, data, tracing, the slides' epochs, results."""
    section = Section(
        "The lecture's classifiers: from process start to the end of the slides' epochs",
        ["system", "epochs", "Keras, s", "Ladder, s", "x Keras"],
        notes=[
            "One run each. Ladder's time contains reading the data, its logs, checkpoints and "
            "pictures. Keras trains on noise that it draws, and writes nothing."
        ],
    )
    call = partial(subprocess.run, check=True, cwd=ROOT, capture_output=True)
    for name, (title, config, _, epochs) in SYSTEMS.items():
        limit = ("--trainer.max_epochs", str(epochs))
        ladder = seconds_of(partial(call, context.command(None, config, *limit)))
        if not context.has_keras:
            section.rows.append((title, str(epochs), "not run", digits(ladder), "not run"))
            continue
        keras = seconds_of(partial(call, [str(context.keras_python), KERAS, name, "whole"]))
        cells = digits(keras), digits(ladder), digits(keras / ladder)
        section.rows.append((title, str(epochs), *cells))
    return section
