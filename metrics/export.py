"""Stores a trained judge for scoring: `python -m metrics.export RUN NAME`.

RUN is a run of `configs/judge/NAME.yaml`, after `python cli.py test --ckpt_path RUN`.
"""

import platform
from pathlib import Path

import torch
from jsonargparse import auto_cli

from metrics.judge import judge_of_checkpoint, save_judge
from runtime.files import METRICS, read_json


def export_judge(run: Path, name: str) -> Path:
    """Writes `metrics/weights/<name>.npz`, and its recipe into `judges.json`.

    Args:
        run: Folder of a run that was fitted and tested.
        name: The config file's name in `configs/judge`, without `.yaml`.
    """
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True, map_location="cpu")
    network, tested = judge_of_checkpoint(state), read_json(run / METRICS).get("test")
    if network is None or tested is None:
        raise SystemExit(f"error: {run} is not a tested run of configs/judge/{name}.yaml")
    recipe = {
        "recipe": f"configs/judge/{name}.yaml",
        "seed": state["seed"],
        "steps": state["global_step"],
        "test_accuracy": tested["scores"]["accuracy"],
        "test_examples": tested["examples"],
        "torch": torch.__version__.partition("+")[0],
        "processor": platform.machine(),
    }
    return save_judge(network, name, recipe)


if __name__ == "__main__":
    print(f"Wrote {auto_cli(export_judge)}")
