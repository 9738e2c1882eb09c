"""Imports that leave out what nobody here uses."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

UNUSED = "scipy.signal"


@contextmanager
def without_unused_modules() -> Iterator[None]:
    """Lets torchmetrics be imported without `scipy.signal`, which takes half a second.

    torchmetrics imports that module only to add a name that older versions had, `hamming`. Inside
    the block a stand-in has it. Whoever imports `scipy.signal` later gets the module itself.
    """
    if UNUSED in sys.modules or "torchmetrics" in sys.modules:
        yield
        return
    stand_in = ModuleType(UNUSED, "Has the only name that torchmetrics asks for.")
    vars(stand_in)["hamming"] = None
    sys.modules[UNUSED] = stand_in
    try:
        yield
    finally:
        del sys.modules[UNUSED]
