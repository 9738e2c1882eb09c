"""A training step of the lecture's GANs, against Keras and plain PyTorch."""

import sys

from benchmarks.context import Context
from benchmarks.report import Section
from benchmarks.timing import digits, ratio, spread

BATCH = 100
KINDS = {"gan": "lecture GAN", "cgan": "lecture cGAN"}
STEPS = 5  # of one contender in one round
REUSE = ("--model.reuse_fakes", "true", "--model.fakes_in_eval_mode", "false")


def run(context: Context) -> list[Section]:
    return [section(context, kind) for kind in KINDS]


def commands(context: Context, kind: str) -> dict[str, list[str]]:
    """The contenders by name, `<kind>: <who>`."""
    config = f"lecture/{kind}"
    args = ["--trainer.log_every_n_steps", str(STEPS)]  # so that no round is without logging
    if kind == "cgan":
        args += ["--model.pretrain_epochs", "0"]
    plain = [sys.executable, "-m", "benchmarks.plain_worker", kind]
    found = {
        "Keras": [str(context.keras_python), "benchmarks/keras_worker.py", kind],
        "plain PyTorch, fp32": plain,
        "Ladder, bare": context.on_images("bare", config, *args),
        "Ladder, bare, reuse_fakes": context.on_images("bare", config, *args, *REUSE),
        "Ladder, Trainer.fit": context.on_images("fit", config, *args),
        "Ladder, Trainer.fit, reuse_fakes": context.on_images("fit", config, *args, *REUSE),
    }
    if not context.keras_python.exists():
        del found["Keras"]
    return {f"{kind}: {name}": command for name, command in found.items()}


def section(context: Context, kind: str) -> Section:
    contenders = commands(context, kind)
    context.race(contenders, STEPS)
    result = Section(
        f"{KINDS[kind]}: one training step, batch {BATCH}",
        ["contender", "ms a step", "images/s", "x Keras", "x plain PyTorch"],
    )
    peers = [context.seconds.get(f"{kind}: {peer}") for peer in ("Keras", "plain PyTorch, fp32")]
    for name in contenders:
        seconds = context.seconds[name]
        step = spread(seconds)
        times = [ratio(peer, seconds).text() if peer else "not run" for peer in peers]
        label = name.removeprefix(f"{kind}: ")
        result.rows.append((label, step.text(1e3), digits(BATCH / step.median), *times))
    if peers[0] is None:
        result.notes.append(f"Keras: not run, {context.keras_python} is missing (`make bench`).")
    else:
        result.notes.append(
            "Keras and the plain loop do what the slides do: D's fakes by `predict` (eval mode), "
            "fresh noise for G, fp32. Keras' G step was checked to leave D's weights unchanged."
        )
    return result
