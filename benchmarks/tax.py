"""Framework tax: `Trainer.fit` against the same model in a bare loop."""

from functools import partial

from benchmarks.context import Context
from benchmarks.report import Section
from benchmarks.timing import interleave, ratio, spread

CASES = {  # name -> config, steps per round
    "lecture GAN, batch 100": ("lecture/gan", 3),
    "MNIST CNN, batch 128": ("mnist_cnn", 20),
    "iris MLP, batch 1": ("lecture/iris", 400),
}
PROCESSES = 2  # The placement of memory makes some processes several percent slower than others.


def run(context: Context) -> list[Section]:
    result = Section(
        "Framework tax",
        ["model", "bare loop, ms per step", "Trainer.fit, ms per step", "x"],
        notes=[
            "Trainer.fit: through the command line, with its callbacks, loggers, checkpoints and "
            "the epochs' ends, without validation; the bare loop has none of these. Both train the "
            "same model in one process by turns, so that only the Trainer differs; "
            f"{PROCESSES} processes one after another, {context.rounds} rounds each."
        ],
    )
    for name, (config, steps) in CASES.items():
        seconds: dict[str, list[float]] = {"bare": [], "fit": []}
        for _ in range(PROCESSES):
            with context.workers({name: context.command("Fit", config)}) as workers:
                run_steps = workers[name].run
                modes = {"bare": partial(run_steps, -steps), "fit": partial(run_steps, steps)}
                for mode, found in interleave(modes, context.rounds).items():
                    seconds[mode] += found
        cells = [spread(values).text(1e3) for values in seconds.values()]
        result.rows.append((name, *cells, ratio(seconds["fit"], seconds["bare"]).text()))
    return [result]
