"""Downloads image data sets by torchvision, within a time limit and completely or not at all."""

import contextlib
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from datamodules.sources import DATASETS, IdxDataset, data_root

_CONNECT_SECONDS = 5.0  # time limit to notice that this machine is offline


def download(key: str, data_dir: str | Path) -> str:
    """Downloads a data set by torchvision into `<data_dir>/<Name>/raw`, within a time limit.

    The files appear there only after all have arrived with the right checksums. Returns the reason
    for a failure in a few words; empty after success.
    """
    spec = DATASETS[key]
    try:
        _within(_CONNECT_SECONDS, lambda: _connect(spec.url))
        _within(spec.download_seconds, lambda: _fetch(spec, data_root(spec, data_dir)))
    except Exception as error:  # any failure of the network, the disk or torchvision
        reason = str(getattr(error, "reason", error)) or type(error).__name__
        return " ".join(reason.split())  # one line
    return ""


def _connect(url: str) -> None:
    with contextlib.suppress(HTTPError):  # An error page also proves that there is a network.
        urlopen(url, timeout=_CONNECT_SECONDS).close()


def _fetch(spec: IdxDataset, root: Path) -> None:
    from torchvision import datasets

    extra = {"split": "digits"} if spec.name == "EMNIST" else {}
    target = root / spec.name / "raw"
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(".part", dir=root, ignore_cleanup_errors=True) as folder:
        for train in (True, False):
            getattr(datasets, spec.name)(folder, train=train, download=True, **extra)
        target.mkdir(parents=True, exist_ok=True)
        for name in (*spec.train, *spec.test):
            (Path(folder) / spec.name / "raw" / name).replace(target / name)


def _within(seconds: float, function: Callable[[], None]) -> None:
    """Runs `function` in a thread, because a name look-up accepts no time limit."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            function()
            future.set_result(None)
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    if not wait([future], seconds).done:
        raise TimeoutError(f"not done within {seconds:.0f} s")
    future.result()
