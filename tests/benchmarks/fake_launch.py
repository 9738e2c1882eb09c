"""A stand-in for `cli.py` in another process: writes what a run leaves, and trains nothing."""

from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.scored_run import Ended
from runtime.files import METRICS, write_json


class FakeLaunch:
    """Records commands. A run's `frechet` is its seed + 1; that of real images is 0.5.

    `ends` has how commands end that do not end well, by their name and the run's.
    """

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.ends: dict[tuple[str, str], Ended] = {}

    def __call__(self, args: Sequence[str], log: Path) -> Ended:
        self.commands.append([*args])
        command, given = args[1], dict(zip(args, args[1:], strict=False))
        if command == "fit":
            run = Path(given["--trainer.default_root_dir"], given["--experiment"])
        else:
            run = Path(given["--ckpt_path"])
        if ended := self.ends.get((command, run.name)):
            return ended
        if command == "fit":
            folder = run / "version_0" / "checkpoints"
            folder.mkdir(parents=True)
            torch.save({"global_step": 7, "state_dict": {}}, folder / "last.ckpt")
            (folder.parent / "config.yaml").write_text("data: {init_args: {batch_size: 8}}")
            return Ended(0, 60.04, "")
        scores = {"frechet": int(run.name.removeprefix("seed_")) + 1.0, "recall": None}
        stage = {"test": "test", "validate": "val"}[command]
        found = {"scores": scores, "floor": {"frechet": 0.5}, "class_scores": {"frechet": [1.0]}}
        found["counts"] = {"frechet": {"generated": 9, "train": 9, "test": 5}}
        write_json(run / "version_0" / METRICS, {stage: found})
        return Ended(0, 2.0, "")
