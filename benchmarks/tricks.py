"""Effects of the tricks of ganhacks (github.com/soumith/ganhacks), which the slides link to.

    python -m benchmarks.tricks [--seeds 0 1 2 3 4] [--data-dir data]

Trains `configs/recipes/tricks.yaml` and, one at a time, each trick as an option of it. Scores every
run on the validation images. docs/quality/tricks.json keeps all runs, and runs that are in it
already are not repeated. docs/quality/tricks.md is the table.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.quality import spread_of
from benchmarks.report import Section
from benchmarks.scored_run import Trial, train_and_score
from benchmarks.worker import ROOT
from commands.errors import UserError
from runtime.errors import announce
from runtime.files import read_json, write, write_json

CONFIG = "configs/recipes/tricks.yaml"
SCORES = ("frechet", "precision", "recall", "modes_kl")
NONE = "none"  # the config as it is
Log = dict[str, Any]


class Trick(NamedTuple):
    """One change of the plain GAN."""

    text: str
    options: tuple[str, ...]


def trick(text: str, options: str) -> Trick:
    return Trick(text, tuple(options.split()))


TRICKS = {
    NONE: trick("no change", ""),
    "minimax": trick(
        "2, left out: the generator's loss of the minimax game", "--model.head.loss Minimax"
    ),
    "uniform": trick("3, left out: uniform latents, not Gaussian ones", "--model.latent uniform"),
    "smoothing": trick("6: soft labels", "--model.head.loss.label_smoothing 0.1"),
    "sgd": trick(
        "9: SGD for the discriminator",
        "--model.discriminator_optimizer SGD --model.discriminator_optimizer.lr 0.02",
    ),
    "noise": trick(
        "13: noise on the discriminator's inputs that decays",
        "--model.view.noise 0.2 --model.view.noise_steps 400",
    ),
    "steps": trick("14: two steps of the discriminator", "--model.discriminator_steps 2"),
    "minibatch_std": trick("15: batch discrimination", "--model.trunk.minibatch_std true"),
    "packing": trick("15: the same by packing", "--model.trunk.packing 2"),
    "spectral_norm": trick("later: spectral norm", "--model.spectral_norm true"),
    "r1": trick("later: R1 penalty", "--model.r1_gamma 1.0"),
    "ema": trick("later: moving average of the generator", "--model.ema_decay 0.99"),
    "cosine": trick("later: cosine schedule of both learning rates", "--model.schedule cosine"),
    "relativistic": trick(
        "later: relativistic pairs, R1 and R2",
        "--model.head.loss Relativistic --model.r1_gamma 1.0 --model.r2_gamma 1.0",
    ),
    "clusters": trick(
        "12 and 16: labels, here clusters that the GAN finds itself",
        "--model SelfConditionedGAN --model.clusters 64",
    ),
}


def table(logs: Sequence[Log]) -> Section:
    """Returns a row for each trick: means and standard deviations over its seeds."""
    section = Section(
        "Tricks, one at a time",
        ["trick (number in ganhacks)", "option", "seeds", *SCORES],
        notes=[
            f"`{CONFIG}` with one option changed, MNIST's validation images. frechet, modes_kl: "
            "lower is better; precision, recall: near real images' value."
        ],
    )
    for name, (text, options) in TRICKS.items():
        own = [log for log in logs if log["trick"] == name]
        done = [log["scores"] for log in own if log["status"] == "done"]
        seeds = str(len(done)) if len(done) == len(own) else f"{len(done)} of {len(own)}"
        cells = [spread_of([scores[key] for scores in done]) for key in SCORES]
        section.rows.append([text, f"`{' '.join(options)}`" if options else "", seeds, *cells])
    floors = [log["real_images"] for log in logs if log["status"] == "done"]
    if floors:
        cells = [spread_of([floors[0][key]]) for key in SCORES]
        section.rows.append(["real images", "", "", *cells])
    return section


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python -m benchmarks.tricks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    found.add_argument("--only", nargs="+", choices=TRICKS, default=list(TRICKS))
    found.add_argument("--data-dir", type=Path, default=Path("data"), help="contains MNIST/raw")
    found.add_argument("--out", type=Path, default=ROOT / "docs/quality", help="a folder")
    return found


def run(options: argparse.Namespace) -> None:
    """Runs what is missing, seed by seed, and writes the table after each run."""
    path = options.out / "tricks.json"
    logs: list[Log] = read_json(path) if path.exists() else []
    known = {(log["trick"], log["seed"]) for log in logs}
    for seed in options.seeds:
        for name in options.only:
            if (name, seed) in known:
                continue
            trial = Trial(CONFIG, seed, TRICKS[name].options, "val")
            folder = ROOT / "runs/tricks" / name
            log = train_and_score(trial, options.data_dir, folder)
            kept = ("status", "reason", "seed", "date", "commit", "hardware", "cpu_seconds")
            log = {key: log[key] for key in kept if key in log} | {
                key: {score: log[key].get(score) for score in SCORES}
                for key in ("scores", "real_images")
                if key in log
            }
            logs.append({"trick": name} | log)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, logs)
            text = table(logs).markdown() + "\n"
            write(path.with_suffix(".md"), partial(Path.write_text, data=text))
            print(name, seed, log["status"], log.get("scores", log.get("reason")), flush=True)


def main(args: list[str] | None = None) -> None:
    try:
        run(parser().parse_args(args))
    except UserError as error:
        announce(error)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
