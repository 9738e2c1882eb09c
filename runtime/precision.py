"""Choosing the precision that the hardware is fast in."""

from pathlib import Path

import torch


def choose_precision(accelerator: str) -> tuple[str, str]:
    """The precision for `precision: auto`, and the reason, for a person to read.

    bf16 where the hardware multiplies it natively: CUDA from compute capability 8.0, CPUs with
    AVX512-BF16 or AMX. There it is faster and needs no loss scaling; elsewhere it is emulated
    and slow, so fp32.
    """
    if accelerator != "cpu" and torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability()
        name = f"{torch.cuda.get_device_name()} (compute capability {major}.{minor})"
        if major >= 8:
            return "bf16-mixed", f"{name} multiplies bf16 natively"
        return "32-true", f"{name} does not multiply bf16 natively"
    if accelerator in ("auto", "cpu"):
        flags = cpu_flags() & {"avx512_bf16", "amx_bf16"}
        if flags:
            return "bf16-mixed", f"this CPU multiplies bf16 natively ({', '.join(sorted(flags))})"
        return "32-true", "this CPU has neither AVX512-BF16 nor AMX"
    return "32-true", f"nothing is known of bf16 on accelerator {accelerator!r}"


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """What Linux says that the first processor can do; empty elsewhere."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return set()
    return next(
        (set(line.split(":")[1].split()) for line in lines if line.startswith("flags")), set()
    )
