"""Choice of the precision in which the hardware is fast."""

import re
from pathlib import Path

import torch

CPUINFO = Path("/proc/cpuinfo")


def choose_precision(accelerator: str) -> tuple[str, str]:
    """Returns the precision for `precision: auto`, and the reason as text.

    That is bf16 if the hardware multiplies it natively, on CUDA from compute capability 8.0 and on
    CPUs with AVX512-BF16 or AMX, because it is faster there and needs no loss scaling. Otherwise
    bf16 is emulated and slow, so it is fp32.
    """
    if accelerator != "cpu" and torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability()
        name = f"{torch.cuda.get_device_name()} (compute capability {major}.{minor})"
        if major >= 8:
            return "bf16-mixed", f"{name} multiplies bf16 natively"
        return "32-true", f"{name} does not multiply bf16 natively"
    if accelerator not in ("auto", "cpu"):
        return "32-true", f"it is not known whether bf16 is fast on accelerator {accelerator!r}"
    if flags := cpu_flags() & {"avx512_bf16", "amx_bf16"}:
        return "bf16-mixed", f"this CPU multiplies bf16 natively ({', '.join(sorted(flags))})"
    return "32-true", "this CPU has neither AVX512-BF16 nor AMX"


def cpu_flags(cpuinfo: Path = CPUINFO) -> set[str]:
    """Returns the features of the first processor on Linux, and nothing on other systems."""
    return set(cpu_entry("flags", cpuinfo).split())


def cpu_vendor(cpuinfo: Path = CPUINFO) -> str:
    """Returns the maker of the first processor on Linux, and nothing on other systems."""
    return cpu_entry("vendor_id", cpuinfo)


def cpu_entry(key: str, cpuinfo: Path = CPUINFO) -> str:
    """Returns what Linux says of the first processor under this key, or nothing."""
    text = cpuinfo.read_text() if cpuinfo.is_file() else ""
    match = re.search(rf"^{key}\s*:(.*)", text, re.MULTILINE)
    return match[1].strip() if match else ""
