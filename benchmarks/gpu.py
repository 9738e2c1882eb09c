"""The lecture's GANs on a GPU, where there is one."""

import sys

import torch

from benchmarks.context import Context
from benchmarks.report import Section
from benchmarks.steps import BATCH, KINDS, REUSE
from benchmarks.timing import digits, ratio, spread

STEPS = 100
VARIANTS = {
    "eager": "bare, bf16, channels_last",
    "compile": "the same, torch.compile",
    "graph": "the same, one CUDA graph",
}


def run(context: Context) -> list[Section]:
    if not torch.cuda.is_available():
        reason = f"Not run: torch {torch.__version__} finds no CUDA device here."
        return [Section("GPU", notes=[reason])]
    return [section(context, kind) for kind in KINDS]


def commands(context: Context, kind: str) -> dict[str, list[str]]:
    module = [sys.executable, "-m"]
    found = {"plain PyTorch, fp32": [*module, "benchmarks.plain_worker", kind, "cuda"]}
    for reuse in ((), REUSE):
        suffix = ", reuse_fakes" if reuse else ""
        for variant, name in VARIANTS.items():
            command = [*module, "benchmarks.gpu_worker", kind, variant]
            found[f"Ladder, {name}{suffix}"] = command + ["reuse"] * bool(reuse)
        args = ["--trainer.accelerator", "gpu", "--trainer.devices", "1", *reuse]
        if kind == "cgan":
            args += ["--model.pretrain_epochs", "0"]
        fit = context.on_images("fit", f"lecture/{kind}", *args)
        found[f"Ladder, Trainer.fit{suffix}"] = fit
    return {f"GPU {kind}: {name}": command for name, command in found.items()}


def section(context: Context, kind: str) -> Section:
    contenders = commands(context, kind)
    context.race(contenders, STEPS)
    result = Section(
        f"{KINDS[kind]} on {torch.cuda.get_device_name()}: one training step, batch {BATCH}",
        ["contender", "ms a step", "images/s", "x plain PyTorch"],
    )
    plain = context.seconds[f"GPU {kind}: plain PyTorch, fp32"]
    for name in contenders:
        seconds = context.seconds[name]
        step = spread(seconds)
        label = name.removeprefix(f"GPU {kind}: ")
        rate = digits(BATCH / step.median)
        result.rows.append((label, step.text(1e3), rate, ratio(plain, seconds).text()))
    return result
