"""A training step of the lecture's classifiers, against Keras."""

from benchmarks.context import Context
from benchmarks.report import Section
from benchmarks.timing import digits, ratio, spread

BF16 = ("--trainer.precision", "bf16-mixed")
KERAS = "benchmarks/keras_classifiers.py"
SYSTEMS = {  # name in Keras -> title, config, steps per round
    "iris": ("iris, batch 1", "lecture/iris", 1200),
    "dense": ("dense, batch 32", "lecture/mnist_dense", 375),
    "cnn": ("CNN, batch 32", "lecture/mnist_cnn", 100),
}
EPOCH_STEPS = 60_000 // 32


def run(context: Context) -> list[Section]:
    return [steps(context)]


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
    for name, (title, config, count) in SYSTEMS.items():
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
