"""Behaves like `cli.py fit` for a sweep, in milliseconds; see `known` for its options."""

import json
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from runtime import signals  # noqa: E402  # imports nothing heavy

known = {
    "--config": "", "--seed_everything": "0", "--ckpt_path": "", "--experiment": "",
    "--trainer.default_root_dir": "", "--x": "0", "--layers": "[1]",
    "--fails_if_x": "", "--seconds": "0", "--metric": "val/loss", "--name": "a",
    "--init_from": "", "--together": "0", "--saving": "0", "--killed_once": "",
}  # fmt: skip
given = dict(known)
name = ""
for arg in sys.argv[2:]:
    if arg.startswith("--"):
        name, _, value = arg.partition("=")
        if name not in known:
            print(f"error: there is no option '{name}'. Did you mean --x?", file=sys.stderr)
            sys.exit(2)
        given[name] = value
    else:
        given[name] = arg

if given["--init_from"] and given["--ckpt_path"]:
    print("error: --init_from starts a new run", file=sys.stderr)
    sys.exit(2)
print("continued" if given["--ckpt_path"] else "started", flush=True)
signals.end_with_parent()
stopped: list[int] = []
for signum in (signal.SIGTERM, signal.SIGINT):
    signal.signal(signum, lambda *_: stopped.append(1))
run = Path(given["--trainer.default_root_dir"]) / given["--experiment"] / "version_0"
x = given["--seed_everything"] if given["--x"] == "0" else given["--x"]
(run / "checkpoints").mkdir(parents=True, exist_ok=True)
(run / "config.yaml").write_text(
    f"seed_everything: {given['--seed_everything']}\nx: {given['--x']}\n"
)
with (run.parent / "calls").open("a") as calls:
    calls.write(f"{given['--ckpt_path']}\n")
shared = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")}
(run.parent / "environment.json").write_text(json.dumps(shared))
for _ in range(1500):  # until so many runs have started, or 30 seconds
    if len([*run.parents[1].glob("*/environment.json")]) >= int(given["--together"]):
        break
    time.sleep(0.02)
if x == given["--fails_if_x"]:
    raise RuntimeError("out of luck")
rows = f"step,train/loss,{given['--metric']}\n1,0.5,{float(x) ** 2}\n"
if float(given["--seconds"]):
    (run / "metrics.csv").write_text(rows)
for _ in range(round(float(given["--seconds"]) * 50)):
    time.sleep(0.02)
    (run / "checkpoints" / "last.ckpt").touch()
    if given["--experiment"] == given["--killed_once"] and not given["--ckpt_path"]:
        os.kill(os.getpid(), signal.SIGKILL)
    if stopped:
        time.sleep(float(given["--saving"]))
        print("stopped", flush=True)
        sys.exit(75)
(run / "metrics.csv").write_text(rows)
