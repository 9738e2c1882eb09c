"""Stores a trained judge for scoring: `python -m benchmarks.judges RUN NAME`.

RUN is a run of `configs/judge/NAME.yaml`, after `python cli.py test --ckpt_path RUN`.
"""

import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import auto_cli

from metrics import judge
from metrics.judge import JudgeNetwork, judge_of_checkpoint, recipes, sha256
from runtime.files import write, write_json
from runtime.recorded import read_recorded


def export_judge(run: Path, name: str) -> Path:
    """Writes `metrics/weights/<name>.npz`, and its recipe into `judges.json`.

    Args:
        run: Folder of a run that was fitted and tested.
        name: The config file's name in `configs/judge`, without `.yaml`.
    """
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True, map_location="cpu")
    network, tested = judge_of_checkpoint(state), read_recorded(run).get("test")
    if network is None or not tested:
        raise SystemExit(f"error: {run} is not a tested run of configs/judge/{name}.yaml")
    recipe = {
        "recipe": f"configs/judge/{name}.yaml",
        "seed": state["seed"],
        "steps": state["global_step"],
        "test_accuracy": tested[-1]["scores"]["accuracy"],
        "test_examples": tested[-1]["examples"],
        "torch": torch.__version__.partition("+")[0],
        "processor": platform.machine(),
    }
    return save_judge(network, name, recipe)


def save_judge(network: JudgeNetwork, name: str, recipe: dict[str, Any]) -> Path:
    """Writes a judge's weights and image shape, and records their SHA-256 and recipe."""
    judge.WEIGHTS.mkdir(exist_ok=True)
    path = judge.WEIGHTS / f"{name}.npz"
    arrays = {key: value.cpu().numpy() for key, value in network.state_dict().items()}
    arrays["image_shape"] = np.array(network.image_shape)
    write(path, lambda file: np.savez(file, allow_pickle=False, **arrays))
    entries = {**recipes(), name: {"sha256": sha256(path), **recipe}}
    write_json(judge.RECIPES, dict(sorted(entries.items())))
    return path


if __name__ == "__main__":
    print(f"Wrote {auto_cli(export_judge)}")
