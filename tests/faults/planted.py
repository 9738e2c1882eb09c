"""Measures whether the quick tests see planted training bugs.

`python -m tests.faults.planted` plants each bug alone in a copy of the tracked files. The nearest
tests run first, then all quick tests. With `nothing` it plants none: if the tests find this, the
other answers mean nothing.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
QUICK = "not slow and not slurm and not gpu and not extras and not browser and not faults"
OPTIONS = [
    "-x", "-q", "-rfE", "-m", QUICK, "-n", "2", "--dist", "loadfile",
    "-o", "faulthandler_timeout=180", "-o", "faulthandler_exit_on_timeout=true",
    "--ignore=tests/test_planted.py",  # which finds each bug in this file's list
]  # fmt: skip


class Bug(NamedTuple):
    """A training bug of the kinds that Jiang et al. 2025 collected (OSDI, "TrainCheck")."""

    what: str
    file: str
    old: str  # occurs once in the file
    new: str


BUGS = (
    Bug("a network stays in eval mode", "models/base.py",
        "module.training = training", "module.training = False"),
    Bug("gradients are not cleared", "models/base.py",
        "                parameter.grad = None", "                pass"),
    Bug("the moving average is never updated", "models/training.py",
        "self.ema.update(self.network,", "self.ema.update(self.ema.network,"),
    Bug("samples come from the wrong network", "models/gan/gan.py",
        "return self.generator if self.ema is None else self.ema.network",
        "return self.generator"),
    Bug("the generator's loss has gradients for D", "models/gan/gan.py",
        "with g_optimizer.toggle_model(sync_grad=False):", "with nullcontext():"),
    Bug("the schedule is stepped twice", "models/training.py",
        "self.schedule.factor(step, total)", "self.schedule.factor(2 * step, total)"),
    Bug("gradients are not clipped", "models/gan/alternating.py",
        'self.clip_gradients(optimizer, self.gradient_clip_val, "norm")', "pass"),
    Bug("gradients are summed over ranks", "models/distributed.py",
        "flat /= dist.get_world_size()", "flat /= 1"),
    Bug("all ranks draw the same noise", "models/generative.py",
        "slice(self.global_rank * count, (self.global_rank + 1) * count)", "slice(0, count)"),
    Bug("training images of an evaluation are augmented", "models/classifier.py",
        "if self.training:\n", "if True:\n"),
    Bug("labels belong to other images", "datamodules/loader.py",
        "            else array.index_select(0, rows)\n",
        "            else array.index_select(0, rows.roll(int(array is self.arrays[0])))\n"),
    Bug("each epoch has the same order", "datamodules/loader.py",
        "SeedSequence([self.seed, self.epoch])", "SeedSequence([self.seed, 0])"),
    Bug("validation images are trained on", "datamodules/base.py",
        "return kept, cut", "return train, cut"),
    Bug("a classifier is validated on the test split", "datamodules/base.py",
        'else self._loader("val")', 'else self._loader("test")'),
    Bug("the judge uses batch statistics", "metrics/judge.py",
        "return build_judge(weights, shape).eval().requires_grad_(False)\n\n\ndef build_judge",
        "return build_judge(weights, shape).requires_grad_(False)\n\n\ndef build_judge"),
    Bug("a generator is validated on the test split", "callbacks/quality.py",
        "data.examples(stage, count)", 'data.examples("test", count)'),
    Bug("generated images are scored with the labels of others", "callbacks/quality.py",
        "yield to_pixels(model(latents, labels)), labels",
        "yield to_pixels(model(latents, labels)).flip(0), labels"),
    Bug("a resumed epoch starts at its first batch", "runtime/lightning_fixes.py",
        "loop._load_combined_loader_states()", "pass"),
    Bug("a repeated step counts", "runtime/repetition.py",
        "tensor.data.copy_(value)", "pass"),
    Bug("a headline config learns ten times faster", "configs/mnist_cnn.yaml",
        "lr: 0.004", "lr: 0.04"),
    Bug("a headline config has larger batches", "configs/cgan.yaml",
        "batch_size: 128", "batch_size: 1280"),
    Bug("the most certain images are occluded", "commands/maximize.py",
        "(shares + wrong.float()).argsort", "(wrong.float() - shares).argsort"),
    Bug("uniform latents move on a sphere", "commands/sample.py",
        'torch.lerp if model.latent == "uniform" else slerp', "slerp"),
    Bug("the picture of P(real) is transposed", "figures/points.py",
        ".view(SIDE, SIDE).T.float()", ".view(SIDE, SIDE).float()"),
    Bug("a hole is where the shift was drawn", "models/gan/diff_augment.py",
        "CUTOUT, random[:, 5:]", "CUTOUT, random[:, 3:5]"),
    Bug("the speed is of one process", "callbacks/monitor.py",
        "count_examples(batch) * trainer.world_size", "count_examples(batch)"),
    Bug("an interval counts other images than its fraction", "metrics/report.py",
        "len(sets[score.fraction_of])", "len(drawn)"),
    Bug("16-bit scans are too bright", "datamodules/image_files.py",
        "// 257", "// 256"),
    Bug("the logged bound rises with the error", "models/autoencoder.py",
        '"elbo": -error - divergence', '"elbo": error - divergence'),
    Bug("the images that are scored ignore the seed", "callbacks/quality.py",
        "LatentBatches(model, count, model.seed,", "LatentBatches(model, count, 0,"),
    Bug("a slower discriminator is a faster one", "pages/scripts/trainers.js",
        "rate / slower", "rate * slower"),
)  # fmt: skip


def planted(bug: Bug) -> str:
    """Returns the text of a bug's file with the bug; a ValueError unless its place is unique."""
    text = (ROOT / bug.file).read_text()
    if (count := text.count(bug.old)) != 1:
        raise ValueError(f"{bug.file} contains {bug.old!r} {count} times, not once")
    return text.replace(bug.old, bug.new)


def nearest(file: str, files: list[str]) -> list[str]:
    """Returns the tests of a file's room that have its name or import it."""
    room, module = file.split("/")[0], file.removesuffix(".py").replace("/", ".")
    tests = [f for f in files if re.match(rf"tests/({room}/)?test_\w+\.py", f)]
    named = f"/test_{Path(file).stem}.py"
    return [f for f in tests if f.endswith(named) or module in (ROOT / f).read_text()]


def finder(folder: Path, tests: list[str]) -> str:
    """Returns the test that fails in a copy of the project; empty if all pass."""
    command = [sys.executable, "-m", "pytest", *OPTIONS, *tests]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode in (0, 5):  # 5: nothing was selected
        return ""
    found = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return found[0] if found else f"exit code {done.returncode}"


def main() -> None:
    """Plants each bug, runs the tests and prints what found it."""
    files = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    found = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for file in files:  # as they are now
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, folder / file)
        subprocess.check_call(["git", "init", "--quiet", folder])  # some tests list tracked files
        subprocess.check_call(["git", "add", "."], cwd=folder)
        if sys.argv[1:] == ["nothing"]:
            sys.exit(finder(folder, ["tests"]) or 0)
        for bug in BUGS:
            begun, near = time.perf_counter(), nearest(bug.file, files)
            (folder / bug.file).write_text(planted(bug))
            by = near and finder(folder, near)
            by = by or finder(folder, ["tests", *(f"--ignore={file}" for file in near)])
            shutil.copy(ROOT / bug.file, folder / bug.file)
            found += bool(by)
            print(f"{bug.what}: {by or 'MISSED'} ({time.perf_counter() - begun:.0f} s)", flush=True)
    print(f"{found} of {len(BUGS)} found")


if __name__ == "__main__":
    main()
