"""Settings that make a CPU train faster: keep freed memory, round subnormal numbers to 0."""

import ctypes
import sys

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGEST = 2**31 - 1  # an int


def keep_freed_memory() -> bool:
    """Keeps freed memory in the process, and returns whether that was possible.

    By default glibc maps each block above 32 MB anew and returns it to the system when it is
    freed, so that every step of a convolutional network faults in the same hundreds of megabytes,
    page by page. No number changes. Other systems than Linux with glibc are left alone.
    """
    is_linux = sys.platform.startswith("linux")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if is_linux else None  # musl has none
    return bool(mallopt and mallopt(M_MMAP_THRESHOLD, 2**30) and mallopt(M_TRIM_THRESHOLD, LARGEST))


def take_subnormal_numbers_as_zero() -> None:
    """Rounds numbers below 1.2e-38 to 0, like Keras and the fast modes of GPUs.

    Adam's moments of a weight whose gradient has vanished halve every few steps until they are
    that small, and a CPU computes with such numbers a hundred times slower. Without this function
    the lecture's convolutional network takes 11 ms per step at first and 28 ms after 500 steps. It
    acts on this thread and those that start from it, so call it before torch has started any.
    """
    torch.set_flush_denormal(True)  # does nothing on processors that cannot
