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
    # Forty of this project's own kinds, written down before any was run.
    Bug("the average moves slowly at the start", "models/training.py",
        "min(self.decay, (1 + step) / (10 + step))", "self.decay"),
    Bug("the schedule ignores its hold", "models/training.py",
        "(self.warmup + self.hold) * total", "self.warmup * total"),
    Bug("an average counts batches, not updates", "models/training.py",
        "self.ema.update(self.network, self.global_step)",
        "self.ema.update(self.network, self.global_step + 1000)"),
    Bug("the divergence of codes has no variance", "models/autoencoder.py",
        "(mean.square() + log_variance.exp() - 1 - log_variance) / 2",
        "(mean.square() - log_variance) / 2"),
    Bug("codes are drawn with the variance for the deviation", "models/autoencoder.py",
        "(log_variance / 2).exp() * noise", "log_variance.exp() * noise"),
    Bug("a generator minimizes its minimax loss upward", "models/gan/losses.py",
        "return -F.softplus(fake).mean()", "return F.softplus(fake).mean()"),
    Bug("a relativistic discriminator prefers fakes", "models/gan/losses.py",
        "return F.softplus(fake - real).mean()", "return F.softplus(real - fake).mean()"),
    Bug("a lazy penalty keeps its small weight", "models/gan/penalties.py",
        "gamma / 2 * self.every * penalty", "gamma / 2 * penalty"),
    Bug("R2 penalizes real images", "models/gan/penalties.py",
        "(self.r2, fake))", "(self.r2, real))"),
    Bug("the flow's error is not over the time left", "models/flow.py",
        "/ (1 - along).clamp(min=MIN_LEFT)).square()", ").square()"),
    Bug("class dropout drops no class", "models/flow.py",
        "class_vectors = class_vectors * ~dropped[:, None]", "pass"),
    Bug("guidance acts outside its interval", "models/flow.py",
        "return self.guidance if first <= time <= last else 0.0", "return self.guidance"),
    Bug("drift repels points from themselves", "models/drift.py",
        "to_itself.fill_(torch.inf)", "pass"),
    Bug("drift's small windows count as whole images", "models/drift.py",
        "(1 / self.windows, partial(window", "(1.0, partial(window"),
    Bug("class vectors are not scaled", "models/generative.py",
        "length * self.class_vectors(labels, values)", "self.class_vectors(labels, values)"),
    Bug("balanced classes are weighed by their frequency", "models/classifier.py",
        "(counts.sum() / (len(counts) * present))", "(present * len(counts) / counts.sum())"),
    Bug("labels are smoothed in evaluation", "models/classifier.py",
        "self.label_smoothing if self.training else 0.0", "self.label_smoothing"),
    Bug("shifted test images leave out the last shift", "models/image_classifiers.py",
        "range(2 * largest + 1)", "range(2 * largest)"),
    Bug("an augmentation rotates in degrees", "models/image_classifiers.py",
        "random[0] * math.radians(self.rotation)", "random[0] * self.rotation"),
    Bug("half of the flips are none", "models/image_classifiers.py",
        "< 0.5, -1.0, 1.0", "< 0.25, -1.0, 1.0"),
    Bug("an erased square begins at its center", "models/image_classifiers.py",
        "torch.randint, height), count, 1, device=device) - size // 2",
        "torch.randint, height), count, 1, device=device)"),
    Bug("Frechet's covariance is of all features at once", "metrics/formulas.py",
        "+ cov.trace() + other_cov.trace() - 2 * overlap", "+ cov.trace() - overlap"),
    Bug("the kernel distance counts images with themselves", "metrics/formulas.py",
        "return _kernel_sum(features, features) - own.pow(3).sum()",
        "return _kernel_sum(features, features)"),
    Bug("precision and recall change places", "metrics/formulas.py",
        "in_balls(test.features, samples.features, NEIGHBORS).any(dim=1)",
        "in_balls(samples.features, test.features, NEIGHBORS).any(dim=1)"),
    Bug("the nearest neighbour is the image itself", "metrics/formulas.py",
        ".topk(k + 1, largest=False).values[:, k]", ".topk(k + 1, largest=False).values[:, k - 1]"),
    Bug("the imbalance of classes is of the other direction", "metrics/formulas.py",
        "(torch.xlogy(p, p) - torch.xlogy(p, q))", "(torch.xlogy(q, q) - torch.xlogy(q, p))"),
    Bug("a worse score replaces the best weights", "callbacks/checkpointing.py",
        "if trains and score < self._lowest:", "if trains:"),
    Bug("a resumed run forgets its best score", "callbacks/checkpointing.py",
        '| {"lowest": self._lowest}', '| {"lowest": inf}'),
    Bug("the sanity check counts as a validation", "callbacks/checkpointing.py",
        "and not trainer.sanity_checking", ""),
    Bug("balanced accuracy is that of examples", "callbacks/evaluation.py",
        '"balanced_accuracy": float(shares.nanmean())',
        '"balanced_accuracy": int(hits.sum()) / examples'),
    Bug("accuracies by class are of predictions", "callbacks/evaluation.py",
        "hits.double() / counts.sum(dim=1)", "hits.double() / counts.sum(dim=0)"),
    Bug("an interval has half of its width", "runtime/intervals.py",
        "fraction * (1 - fraction) + z / 4", "fraction * (1 - fraction) / 4"),
    Bug("training speed counts validation", "callbacks/monitor.py",
        "on_validation_end = on_train_epoch_start", ""),
    Bug("a subset has the first examples", "datamodules/base.py",
        "split.take(torch.randperm(len(split.targets), generator=random)[:count])",
        "split.take(torch.arange(count))"),
    Bug("validation is in the order of classes", "datamodules/base.py",
        'rows = torch.from_numpy(np.argsort(hashes_of(val), kind="stable"))',
        "rows = torch.arange(len(val.targets))"),
    Bug("uint8 inputs of a dataset are not divided", "datamodules/base.py",
        "inputs.float() / (self.scale if inputs.dtype == torch.uint8 else 1)", "inputs.float()"),
    Bug("a run that has trained on an image says nothing", "datamodules/provenance.py",
        "if seen > MAX_SEEN * count and not own and not allow_seen:", "if False:"),
    Bug("latents between two points leave their sphere", "commands/sample.py",
        "((1 - share) * angle).sin() * start", "(1 - share) * angle.sin() * start"),
    Bug("a run repeats the rows of its log", "runtime/loggers.py",
        'if not float(row["step"] or 0) > step]', "]"),
    Bug("masked weights are diverged ones", "runtime/checkpoints.py",
        "and not _is_mask(weight)", ""),
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
