"""Makes a trained judge the one that scores: `python -m metrics.export RUN NAME`.

RUN is a run of `configs/judge/NAME.yaml` on which `python cli.py test --ckpt_path RUN` was run.
"""

import argparse
import json
import platform
from pathlib import Path

import torch

from metrics.judge import JudgeNetwork, save_judge

AVERAGE = "ema.network."  # the weights that the classifier evaluates


def export(run: Path, name: str) -> Path:
    """Writes `metrics/weights/<name>.npz`, and how it came to be into `judges.json`.

    Raises:
        SystemExit: The run has no checkpoint or no test results, or is of another model.
    """
    checkpoint, results = run / "checkpoints" / "last.ckpt", run / "metrics.json"
    for file, remedy in ((checkpoint, "fit"), (results, f"test --ckpt_path {run}")):
        if not file.is_file():
            raise SystemExit(f"error: {file} is missing: run `python cli.py {remedy}` first")
    state = torch.load(checkpoint, weights_only=True, map_location="cpu")
    weights = {k[len(AVERAGE) :]: v for k, v in state["state_dict"].items() if AVERAGE in k}
    network = JudgeNetwork()
    if weights.keys() != network.state_dict().keys():
        raise SystemExit(f"error: {checkpoint} is not of configs/judge/{name}.yaml")
    network.load_state_dict(weights)
    tested = json.loads(results.read_text())["test"]
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("name", choices=["mnist", "fashion", "digits"])
    options = parser.parse_args()
    print(f"Wrote {export(options.run, options.name)}")


if __name__ == "__main__":
    main()
