"""What the framework costs: `Trainer.fit` against the same model in a bare loop."""

from functools import partial

from benchmarks.context import Context
from benchmarks.report import Section
from benchmarks.timing import interleave, ratio, spread

CASES = {  # name -> config, steps a round
    "lecture GAN, batch 100": ("lecture/gan", 10),
    "MNIST CNN, batch 128": ("mnist_cnn", 50),
    "iris MLP, batch 1": ("lecture/iris", 400),
}


PROCESSES = 3  # where memory comes to lie makes one process some percent slower than another


def run(context: Context) -> list[Section]:
    result = Section(
        "Framework tax",
        ["model", "bare loop, ms a step", "Trainer.fit, ms a step", "x"],
        notes=[
            "Trainer.fit: through the command line, with its callbacks, loggers, checkpoints and "
            "the epochs' ends, without validation, which the bare loop has none of. Both train the "
            "same model in one process by turns, so that nothing else differs; "
            f"{PROCESSES} processes one after another, {context.rounds} rounds each."
        ],
    )
    for name, (config, steps) in CASES.items():
        start = context.ladder if "iris" in config else context.on_images
        seconds: dict[str, list[float]] = {"bare": [], "fit": []}
        for _ in range(PROCESSES):
            with context.workers({name: start("fit", config)}) as workers:
                run_steps = workers[name].run
                modes = {"bare": partial(run_steps, -steps), "fit": partial(run_steps, steps)}
                for mode, found in interleave(modes, context.rounds).items():
                    seconds[mode] += found
        cells = [spread(values).text(1e3) for values in seconds.values()]
        result.rows.append((name, *cells, ratio(seconds["fit"], seconds["bare"]).text()))
    return [result]
