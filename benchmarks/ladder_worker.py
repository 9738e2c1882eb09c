"""A run of this project's command line that keeps a parent's pace.

`-m benchmarks.ladder_worker fit|bare FOLDER ARGS...`: `ARGS` are those of `cli.py fit`.
"""

import json
import sys

import cli

CALLBACKS = {"fit": "benchmarks.pacing.Fit", "bare": "benchmarks.pacing.Bare"}


def main() -> None:
    mode, folder, *args = sys.argv[1:]
    callback = json.dumps({"class_path": CALLBACKS[mode]})
    cli.main(
        [
            "fit",
            *args,
            *("--trainer.default_root_dir", folder),
            *("--trainer.max_epochs", "100000"),
            *("--trainer.limit_val_batches", "0"),
            *("--trainer.callbacks+", callback),
        ]
    )


if __name__ == "__main__":
    main()
