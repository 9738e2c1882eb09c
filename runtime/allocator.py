"""glibc's allocator, told to keep what a training step frees for the next step."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGEST = 2**31 - 1  # an int


def keep_freed_memory() -> bool:
    """Large tensors come from the heap, and the heap is not given back; whether that was set.

    By default glibc maps each block above 32 MB anew and gives it back when it is freed, so that
    every step of a convolutional network faults in the same hundreds of megabytes, page by page.
    No number changes. Elsewhere than on Linux with glibc nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, 2**30) and mallopt(M_TRIM_THRESHOLD, LARGEST))
