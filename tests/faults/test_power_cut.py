"""After a power cut at any moment all that was saved is there, and a run ends with the same bits.

In the long form these are more than 10,000 different states of the disk.
"""

import csv
import random
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from commands import fit_processes, sweep
from datamodules import store as image_store
from datamodules.folders import find_in_folder
from results import Run
from runtime import checkpoints
from runtime.errors import UserError
from runtime.loggers import RunCSVLogger
from tests import ranks
from tests.commands.conftest import FAKE
from tests.datamodules.pictures import write_images
from tests.faults import power, runs
from tests.faults.power import Cut, Store, Tree
from tests.faults.runs import rounds

RUN = "run/version_0/"
TRIALS = 3
SPACE = "x: {low: -2, high: 2.0}\nlayers: [[1], [2, 2]]\nname: [a, b]\n"
Rows = list[dict[str, str]]


# -- a run ----------------------------------------------------------------------------------------


def quick_load() -> Callable[..., Any]:
    """Returns `torch.load` for files of a `Store`, of which the same inode is the same content."""
    real, known = torch.load, dict[Any, Any]()

    def load(path: Path, map_location: str, **kwargs: Any) -> Any:
        key = path.stat().st_ino, map_location
        if key not in known:
            known[key] = real(path, map_location=map_location, **kwargs)
        return known[key]

    return load


@pytest.mark.parametrize(
    ("kind", "kept", "least"),
    [("GAN", 2, rounds(full=10_000, short=150)), ("classifier", 1, rounds(full=1000, short=70))],
)
def test_a_run_after_a_power_cut(kind, kept, least, tmp_path, monkeypatch):
    root, whole, log = tmp_path / "root", tmp_path / "whole", tmp_path / "log"
    keep, store = f"--checkpoint.keep_last={kept}", Store(tmp_path / "store")
    fault = partial(power.record, root, log)
    runs.finish(runs.start(root, kind, keep, fault=fault, logs=tmp_path), tmp_path)
    shutil.copytree(root, whole, symlinks=True)
    rows, flushed = rows_of(root / RUN / "metrics.csv"), power.flushed_in(log)
    cuts = power.cuts(log, rounds(full=200, short=4))
    print(f"{len(cuts):,} states")
    assert len(cuts) >= least
    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", quick_load())
        for cut in cuts:
            store.put(cut.tree, root)
            check_whole(cut.tree, flushed)
            check_run(cut, root, rows)
    for cut in random.Random(1).sample(
        [cut for cut in cuts if cut.saved], rounds(full=10, short=1)
    ):
        store.put(cut.tree, root, link=False)
        runs.finish(runs.start(root, kind, keep, logs=tmp_path), tmp_path)
        runs.check_equal(root, whole, spare=1)


def rows_of(path: Path) -> Rows:
    with path.open(newline="") as file:
        return [*csv.DictReader(file)]


def check_whole(tree: Tree, flushed: set[bytes]) -> None:
    """Checks that all files are whole, except those that grow and those of no one."""
    for name, content in tree.items():
        hidden = Path(name).name.startswith(".")
        if isinstance(content, bytes) and not hidden and not name.endswith("metrics.csv"):
            assert content in flushed, f"{name} is not whole"


def check_run(cut: Cut, root: Path, rows: Rows) -> None:
    """Checks the checkpoint from which a run continues, and the rows before it."""
    found = newest(root)
    step = checkpoints.saved_step(found) or 0
    assert step >= cut.saved, f"the checkpoint of step {cut.saved} is lost: {sorted(cut.tree)}"
    if found is None:
        return
    assert (root / RUN / "config.yaml").exists()
    if (last := found.with_name("last.ckpt")).is_symlink():
        assert last.exists(), f"last.ckpt leads nowhere: {sorted(cut.tree)}"
    check_rows(Run(root / RUN).curves().to_dict("records"), rows)  # tools change nothing
    RunCSVLogger(root / RUN).forget_after(step)
    ours = rows_of(root / RUN / "metrics.csv")
    check_rows(ours, rows)
    missing = [row for row in rows if int(row["step"]) < step and row not in ours]
    assert not missing, f"rows of metrics.csv are lost: {missing}"


def newest(root: Path) -> Path | None:
    try:
        return checkpoints.resolve("last", root / "run", resume=True)
    except UserError as error:
        if not re.search("no checkpoint below|best.ckpt has weights alone", str(error)):
            raise
        return None


def check_rows(ours: list[Any], rows: Rows) -> None:
    """Checks that all rows were written so, except for columns that the file got later."""
    known = {tuple(numbers(row).items()) for row in rows}
    for row in ours:
        assert tuple(numbers(row).items()) in known, f"not a whole row: {row}"


def numbers(row: dict[str, Any]) -> dict[str, float]:
    given = {name: float(value) for name, value in row.items() if value != ""}
    return {name: value for name, value in sorted(given.items()) if not np.isnan(value)}


# -- tools ----------------------------------------------------------------------------------------


def test_samples_after_a_power_cut(tmp_path, uninterrupted):
    root, log, store = tmp_path / "root", tmp_path / "log", Store(tmp_path / "store")
    left = tmp_path / "left"
    run, flushed = str(runs.folder_of(uninterrupted("GAN"))), set[bytes]()
    for seed in range(2):  # the second time the files are there
        args = ["sample", run, "--count=4", f"--seed={seed}", f"--out={root}"]
        fault = partial(power.record, root, log)
        runs.finish(runs.command(tmp_path, *args, fault=fault), tmp_path)
        flushed |= power.flushed_in(log)
        cuts = power.cuts(log, rounds(full=200, short=20))
        print(f"{len(cuts):,} states")
        for cut in cuts:
            store.put(cut.tree, left)
            check_whole(cut.tree, flushed)
            if (left / "samples.npz").exists():
                with np.load(left / "samples.npz") as arrays:
                    assert len(arrays["images"]) == 4


def test_decoded_images_after_a_power_cut(tmp_path, monkeypatch):
    """They are complete, or the next run decodes them again."""
    root, log, store = tmp_path / "root", tmp_path / "log", Store(tmp_path / "store")
    photos = write_images(tmp_path / "photos", 9)
    monkeypatch.setenv("LADDER_CACHE", str(root))
    monkeypatch.setattr(image_store, "CHUNK_FILES", 3)
    monkeypatch.setattr(image_store, "checksum_of", lambda _: 0)  # so that nothing is found by luck
    source = find_in_folder(photos, labeled=False)

    def decoded() -> Any:
        return image_store.Store(str(photos), (1, 16, 16), "crop", 10**6, False).load(source)

    root.mkdir()
    expected = decoded()
    shutil.rmtree(root)
    root.mkdir()

    def work() -> None:
        power.record(root, log)
        decoded()

    assert ranks.end(ranks.start(1, work, tmp_path), runs.PATIENCE) == [0]
    cuts = power.cuts(log, rounds(full=400, short=50))
    print(f"{len(cuts):,} states")
    for cut in cuts:
        store.put(cut.tree, root, link=False)
        for _ in range(2):
            found = decoded()
            assert torch.equal(found[:], expected[:]), sorted(cut.tree)
            assert found.about == expected.about
            assert np.array_equal(found.facts, expected.facts)


@pytest.mark.extras
def test_a_search_after_a_power_cut(tmp_path, monkeypatch):
    optuna = pytest.importorskip("optuna")
    root, log, store = tmp_path / "root", tmp_path / "log", Store(tmp_path / "store")
    config, space = tmp_path / "some.yaml", tmp_path / "space.yaml"
    config.write_text("{}\n")
    space.write_text(SPACE)

    def prepare() -> None:
        fit_processes.CLI, fit_processes.POLL_SECONDS = FAKE, 0.05
        power.record(root, log, (optuna.Study, "tell", lambda _, number, *__: number + 1))

    args = ["sweep", f"--config={config}", f"--space={space}", f"--trials={TRIALS}"]
    args.append(f"--out={root}")
    runs.finish(runs.command(tmp_path, *args, fault=prepare), tmp_path)
    expected = rows_of(root / "trials.csv")
    trained: list[str] = []

    def train(folder: Path, fit: list[str], environment: Any, stop: Any, is_new: bool) -> str:
        if not is_new:
            return "lost"
        given = dict(option.removeprefix("--").split("=", 1) for option in fit)
        (folder / "version_0").mkdir(exist_ok=True)
        (folder / "version_0" / "config.yaml").touch()
        log = "step,val/loss\n1,{}\n".format(float(given["x"]) ** 2)
        (folder / "version_0" / "metrics.csv").write_text(log)
        trained.append(folder.name)
        return "done"

    def report(study: Any, *_: Any) -> None:
        *begun, end = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
        assert len(begun) == TRIALS - 1
        assert len(study.trials) <= TRIALS + 1  # one was lost
        for trial in (*begun, end):
            assert trial.params.keys() == {"x", "layers", "name"}
            assert trial.value == trial.params["x"] ** 2
            chosen = trial.number >= TRIALS or expected[trial.number]["x"]
            assert chosen in (True, str(trial.params["x"]))

    monkeypatch.setattr(sweep, "train_in_process", train)
    monkeypatch.setattr(sweep, "report_search", report)
    flushed = power.flushed_in(log)
    cuts = power.cuts(log, rounds(full=40, short=2))[:: rounds(full=1, short=3)]
    print(f"{len(cuts):,} states")
    for cut in cuts:
        # Optuna itself waits half a minute for its lock, then takes it.
        tree = {k: v for k, v in cut.tree.items() if not k.startswith(f"{sweep.STUDY}.lock")}
        store.put(tree, root, link=False)
        assert tree.get("trials.csv", b"") in {*flushed, b""}
        trained.clear()
        sweep.sweep(space=space, trials=TRIALS, out=root, fit=[f"--config={config}"])
        assert len(trained) <= TRIALS - cut.saved, f"trials are lost: {sorted(tree)}"
