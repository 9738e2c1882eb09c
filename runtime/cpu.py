"""The precision in which the hardware is fast, and settings with which a CPU trains faster.

Imports torch only where it is used, because OpenMP reads its settings when torch is imported.
"""

import atexit
import ctypes
import gc
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

CPUINFO = Path("/proc/cpuinfo")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
MAX_INT = 2**31 - 1  # an int
SPINS = "10000"  # rounds of a wait before the thread sleeps; GNU OpenMP's own number is 300,000


def choose_precision(accelerator: str) -> tuple[str, str]:
    """Returns the precision for `precision: auto`, and the reason as text.

    That is bf16 if the hardware multiplies it natively, on CUDA from compute capability 8.0 and on
    CPUs with AVX512-BF16 or AMX, because it is faster there and needs no loss scaling. Otherwise
    bf16 is emulated and slow, so it is fp32.
    """
    import torch

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


def bf16_slowdown() -> float:
    """Measures the time of a convolution and its gradient in bf16, relative to float32."""
    import torch

    with torch.random.fork_rng(devices=[]):
        layer, images = torch.nn.Conv2d(64, 64, 3), torch.randn(16, 64, 24, 24)

    def seconds(half: bool) -> float:
        times = []
        for _ in range(4):
            start = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                layer(images).sum().backward()
            times.append(time.perf_counter() - start)
        return min(times)

    return seconds(True) / seconds(False)


def bf16_is_wrong(layer: Any, height: int, width: int) -> bool:
    """Returns whether a CPU may compute an `nn.Conv2d` of such images wrongly in bf16.

    Some kernels of oneDNN read or write beyond their memory. Seen with torch 2.13 (oneDNN 3.12), on
    CPUs with AMX in all cases below, with AVX512-BF16 alone in the second. Sizes are horizontal.

    - A stride, and an output one pixel wide and higher than that: wrong outputs
      (github.com/pytorch/pytorch/issues/169688)
    - A stride larger than the images, which are padded: a wrong gradient of the weights
    - 4 to 31 channels, and a stride from 3 or a kernel from 8: wrong outputs, for some sizes only
    """
    (kernel, stride), padding = (layer.kernel_size, layer.stride), layer.padding
    padding = (0, 0) if padding == "valid" else padding
    rows, columns = (  # pixels by which the kernel can move
        side + 2 * padding[k] - layer.dilation[k] * (kernel[k] - 1) - 1
        for k, side in enumerate((height, width))
    )
    column = columns < stride[1] > 1 and rows >= stride[0]
    narrow = width < stride[1] and padding[1] > 0
    few = 4 <= layer.in_channels // layer.groups < 32 and (stride[1] >= 3 or kernel[1] >= 8)
    return column or narrow or few


def correct_bf16(network: Any) -> None:
    """Makes the convolutions of a network compute in float32 where bf16 is wrong on a CPU."""
    import torch

    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.padding != "same":
            vars(layer)["forward"] = partial(_convolve, layer)


def _convolve(layer: Any, images: Any) -> Any:
    import torch

    half = torch.is_autocast_enabled("cpu") or images.dtype == torch.bfloat16
    if not half or not bf16_is_wrong(layer, *images.shape[-2:]):
        return type(layer).forward(layer, images)
    _say_float32(torch.__version__)
    state = {name: value.float() for name, value in layer.state_dict(keep_vars=True).items()}
    with torch.autocast("cpu", enabled=False):
        return torch.func.functional_call(layer, state, images.float()).to(images.dtype)


@cache
def _say_float32(version: str) -> None:
    from lightning.pytorch.utilities.rank_zero import rank_zero_info

    rank_zero_info(
        f"Some convolutions are computed in float32, because torch {version} computes them wrongly "
        "in bfloat16 on a CPU, such as those with a stride of images one pixel wide."
    )


def cpu_flags(cpuinfo: Path = CPUINFO) -> set[str]:
    """Returns the features of the first processor on Linux, and nothing on other systems."""
    return set(cpu_entry("flags", cpuinfo).split())


def cpu_entry(key: str, cpuinfo: Path = CPUINFO) -> str:
    """Returns what Linux says of the first processor under this key, or nothing."""
    text = cpuinfo.read_text() if cpuinfo.is_file() else ""
    match = re.search(rf"^{key}\s*:(.*)", text, re.MULTILINE)
    return match[1].strip() if match else ""


def allowed_cores() -> int:
    """Returns the number of cores on which this process may run."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def imports(own_process: bool) -> Iterator[None]:
    """Takes what is imported in the block out of garbage collection, in a process of our own.

    The libraries make 750,000 objects that stay. To look through them seven times takes a quarter
    of the time of their import, and once more at each full collection of a training.
    """
    if not own_process:  # the garbage of a notebook would stay as well
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        atexit.register(_unfreeze_for_triton)


def _unfreeze_for_triton() -> None:
    """Lets triton free its objects, which it would report as leaked. It takes half a second."""
    if "triton" in sys.modules:
        gc.unfreeze()


def limit_thread_spinning() -> None:
    """Lets a thread sleep soon after it begins to wait for others. Call before torch is imported.

    GNU OpenMP's threads wait in a loop that keeps their core busy. If another program needs a core
    as well, the waiting thread takes it from the thread that still has work. A user's own setting
    is kept. No number changes.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def keep_freed_memory() -> bool:
    """Keeps freed memory in the process, and returns whether that was possible.

    By default glibc maps each block above 32 MB anew and returns it to the system when it is
    freed, so that every step of a convolutional network faults in the same hundreds of megabytes,
    page by page. No number changes. Other systems than Linux with glibc are left alone.
    """
    is_linux = sys.platform.startswith("linux")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if is_linux else None  # musl has none
    return bool(mallopt and mallopt(M_MMAP_THRESHOLD, 2**30) and mallopt(M_TRIM_THRESHOLD, MAX_INT))


def flush_denormals() -> None:
    """Rounds numbers below 1.2e-38 to 0, like Keras and the fast modes of GPUs.

    Adam's moments of a weight whose gradient has vanished halve every few steps until they are
    that small, and a CPU computes with such numbers a hundred times slower. Without this function
    the lecture's convolutional network takes 11 ms per step at first and 28 ms after 500 steps. It
    acts on this thread and those that start from it, so call it before torch has started any.
    """
    import torch

    torch.set_flush_denormal(True)  # does nothing on processors that cannot
