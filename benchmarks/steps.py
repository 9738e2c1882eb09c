"""A training step of the lecture's GANs, against Keras and plain PyTorch."""

import subprocess
import sys

import torch

from benchmarks.context import Context
from benchmarks.report import Section
from benchmarks.timing import digits, ratio, spread

BATCH = 100
KINDS = {"gan": "lecture GAN", "cgan": "lecture cGAN"}
STEPS, GPU_STEPS = 3, 100  # of one contender in one round
REUSE = ("--model.reuse_fakes", "true", "--model.fakes_in_eval_mode", "false")
PLAIN = "plain PyTorch, fp32"
GPU_VARIANTS = {
    "eager": "bare, bf16, channels_last",
    "compile": "the same, torch.compile",
    "graph": "the same, one CUDA graph",
}


def run(context: Context) -> list[Section]:
    """Measures on the CPU."""
    return [on_cpu(context, kind) for kind in KINDS]


def run_on_gpu(context: Context) -> list[Section]:
    """Measures on a GPU, if there is one."""
    if torch.cuda.is_available():
        return [on_gpu(context, kind) for kind in KINDS]
    return [Section("GPU", notes=[f"Not run: torch {torch.__version__} finds no CUDA device."])]


def on_cpu(context: Context, kind: str) -> Section:
    # Log in every round, so that no round is faster than the others.
    args = [*model_arguments(kind), "--trainer.log_every_n_steps", str(STEPS)]
    softmax = kind == "cgan" and loss_of_keras(context) == "softmax"
    if softmax:
        args += ["--model.head", "SoftmaxHead"]
    contenders = {
        "Keras": [str(context.keras_python), "benchmarks/keras_worker.py", kind],
        PLAIN: module("plain_worker", kind, *(["softmax"] if softmax else [])),
    }
    for callback, name, reuse in (
        ("Bare", "bare", ()),
        ("Fit", "Trainer.fit", ()),
        ("Fit", "Trainer.fit, reuse_fakes", REUSE),
    ):
        command = context.command(callback, f"lecture/{kind}", *args, *reuse)
        contenders[f"Ladder, {name}"] = command
    note = (
        "Keras and the plain loop do what the slides do: D's fakes by `predict` (eval mode), fresh "
        "noise for G, fp32. Keras' G step was checked to leave D's weights unchanged."
    )
    if not context.has_keras:
        del contenders["Keras"]
        note = context.no_keras
    if softmax:
        note += " All take the softmax cross-entropy of the logits, as this Keras was seen to do."
    result = race(context, kind, contenders, STEPS, {"Keras": "Keras", "plain PyTorch": PLAIN})
    result.title = f"{KINDS[kind]}: one training step, batch {BATCH}"
    result.notes.append(note)
    return result


def on_gpu(context: Context, kind: str) -> Section:
    contenders = {PLAIN: module("plain_worker", kind, "cuda")}
    args = [*model_arguments(kind), "--trainer.accelerator", "gpu", "--trainer.devices", "1"]
    for reuse, suffix in (((), ""), (REUSE, ", reuse_fakes")):
        for variant, name in GPU_VARIANTS.items():
            command = module("gpu_worker", kind, variant, *(["reuse"] if reuse else []))
            contenders[f"Ladder, {name}{suffix}"] = command
        fit = context.command("Fit", f"lecture/{kind}", *args, *reuse)
        contenders[f"Ladder, Trainer.fit{suffix}"] = fit
    result = race(context, f"GPU {kind}", contenders, GPU_STEPS, {"plain PyTorch": PLAIN})
    name = torch.cuda.get_device_name()
    result.title = f"{KINDS[kind]} on {name}: one training step, batch {BATCH}"
    return result


def loss_of_keras(context: Context) -> str:
    """Returns what Keras computes for the labelled GAN, `softmax` or `normalized`.

    Without Keras it is `normalized`, the loss of `configs/lecture/cgan.yaml`.
    """
    if not context.has_keras:
        return "normalized"
    command = [str(context.keras_python), "benchmarks/keras_worker.py", "loss"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]


def model_arguments(kind: str) -> list[str]:
    return ["--model.pretrain_epochs", "0"] if kind == "cgan" else []


def module(name: str, *args: str) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.{name}", *args]


def race(
    context: Context,
    prefix: str,
    contenders: dict[str, list[str]],
    steps: int,
    peers: dict[str, str],
) -> Section:
    """Races contenders, and compares each with its peers (column -> contender).

    The seconds per step go to `context.seconds["<prefix>: <contender>"]`.
    """
    context.race({f"{prefix}: {name}": command for name, command in contenders.items()}, steps)
    found = {name: context.seconds[f"{prefix}: {name}"] for name in contenders}
    columns = ["contender", "ms per step", "images/s", *(f"x {peer}" for peer in peers)]
    result = Section("", [*columns, "peak memory of the process, MB"])
    for name, seconds in found.items():
        step = spread(seconds)
        times = [
            ratio(found[peer], seconds).text() if peer in found else "not run"
            for peer in peers.values()
        ]
        memory = digits(context.peak_mb[f"{prefix}: {name}"])
        result.rows.append((name, step.text(1e3), digits(BATCH / step.median), *times, memory))
    return result
