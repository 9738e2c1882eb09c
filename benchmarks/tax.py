"""What the framework costs: `Trainer.fit` against the same model in a bare loop."""

from benchmarks.context import Context
from benchmarks.report import Section
from benchmarks.steps import STEPS, commands
from benchmarks.timing import ratio, spread

CASES = {  # name -> config, steps a round
    "MNIST CNN, batch 128": ("mnist_cnn", 50),
    "iris MLP, batch 1": ("lecture/iris", 400),
}


def run(context: Context) -> list[Section]:
    contenders, steps = {}, {}
    for name, (config, count) in CASES.items():
        for mode in ("bare", "fit"):
            start = context.on_images if "mnist" in config else context.ladder
            contenders[f"{name}: {mode}"] = start(mode, config)
            steps[f"{name}: {mode}"] = count
    context.race(contenders, steps)
    result = Section(
        "Framework tax",
        ["model", "bare loop, ms a step", "Trainer.fit, ms a step", "x"],
        notes=[
            "Trainer.fit: through the command line, with its callbacks, loggers, checkpoints and "
            "the epochs' ends, without validation, which the bare loop has none of."
        ],
    )
    pair = [name for name in commands(context, "gan") if name.endswith((", bare", "Trainer.fit"))]
    if any(name not in context.seconds for name in pair):  # not raced by an earlier section
        context.race({name: commands(context, "gan")[name] for name in pair}, STEPS)
    pairs = {"lecture GAN, batch 100": pair}
    pairs |= {name: [f"{name}: {mode}" for mode in ("bare", "fit")] for name in CASES}
    for name, (bare, fit) in pairs.items():
        seconds = [context.seconds[which] for which in (bare, fit)]
        cells = [spread(values).text(1e3) for values in seconds]
        result.rows.append((name, *cells, ratio(seconds[1], seconds[0]).text()))
    return [result]
