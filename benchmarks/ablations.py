"""Effect of single changes of a GAN's config, over several seeds.

    python -m benchmarks.ablations tricks [--seeds 0 1 2 3 4] [--data-dir data]
    python -m benchmarks.ablations cgan

`tricks`: those of ganhacks (github.com/soumith/ganhacks), which the slides link to, on a plain GAN.
`cgan`: parts of `configs/cgan.yaml`. Every run is scored on the validation images.
docs/quality/ablations/<study>.json keeps all runs, and those that are in it are not repeated.
docs/quality/ablations/<study>.md is the table.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.quality import spread_of
from benchmarks.report import Section
from benchmarks.scored_run import Trial, config_sha256, train_and_score
from benchmarks.worker import ROOT
from runtime.errors import UserError, announce
from runtime.files import read_json, write, write_json

NONE = "none"  # the config as it is
KEPT = ("status", "reason", "seed", "date", "commit", "config_sha256", "options", "hardware",
        "cpu_seconds")  # fmt: skip
Log = dict[str, Any]


class Change(NamedTuple):
    """One change of a config."""

    text: str
    options: tuple[str, ...]


class Study(NamedTuple):
    """A config and its changes, one at a time."""

    title: str
    config: str
    options: tuple[str, ...]  # of all runs
    scores: tuple[str, ...]
    changes: dict[str, Change]

    def trial(self, name: str, seed: int) -> Trial:
        """Returns the run of a change with a seed."""
        return Trial(self.config, seed, self.options + self.changes[name].options, "val")


def change(text: str, options: str = "") -> Change:
    return Change(text, tuple(options.split()))


TRICKS = Study(
    "Tricks, one at a time; the number is that of ganhacks",
    "configs/recipes/tricks.yaml",
    (),
    ("frechet", "precision", "recall", "modes_kl"),
    {
        NONE: change("no change"),
        "minimax": change(
            "2, left out: the generator's loss of the minimax game", "--model.head.loss Minimax"
        ),
        "uniform": change(
            "3, left out: uniform latents, not Gaussian ones", "--model.latent uniform"
        ),
        "smoothing": change("6: soft labels", "--model.head.loss.label_smoothing 0.1"),
        "sgd": change(
            "9: SGD for the discriminator",
            "--model.discriminator_optimizer SGD --model.discriminator_optimizer.lr 0.02",
        ),
        "noise": change(
            "13: noise on the discriminator's inputs that decays",
            "--model.view.noise 0.2 --model.view.noise_steps 400",
        ),
        "steps": change("14: two steps of the discriminator", "--model.discriminator_steps 2"),
        "minibatch_std": change("15: batch discrimination", "--model.trunk.minibatch_std true"),
        "packing": change("15: the same by packing", "--model.trunk.packing 2"),
        "spectral_norm": change("later: spectral norm", "--model.spectral_norm true"),
        "r1": change("later: R1 penalty", "--model.penalties.r1 1.0"),
        "ema": change("later: moving average of the generator", "--model.average.decay 0.99"),
        "cosine": change(
            "later: cosine schedule of both learning rates", "--model.schedule.shape cosine"
        ),
        "relativistic": change(
            "later: relativistic pairs, R1 and R2",
            "--model.head.loss Relativistic --model.penalties.r1 1.0 --model.penalties.r2 1.0",
        ),
        "clusters": change(
            "12 and 16: labels, here clusters that the GAN finds itself",
            "--model SelfConditionedGAN --model.clusters 64",
        ),
    },
)
CGAN = Study(
    "Parts of the conditional GAN, one at a time",
    "configs/cgan.yaml",
    ("--data.dataset", "mnist", "--trainer.max_steps", "600"),
    ("frechet", "precision", "recall", "label_accuracy"),
    {
        NONE: change("no change"),
        "hidden": change(
            "no hidden layer", "--model.generator.hidden [] --model.generator.skip false"
        ),
        "skip": change("no way around it", "--model.generator.skip false"),
        "transposed": change(
            "upsampling in place of the transposed convolution",
            "--model.generator.transposed false",
        ),
        "class_loss": change("no class loss", "--model.head.class_weight 0"),
        "projection": change(
            "no projection", "--model.head AuxiliaryHead --model.head.class_weight 0.05"
        ),
        "r1": change("no R1 penalty", "--model.penalties.r1 0"),
        "schedule": change("no schedule", "--model.schedule.shape constant"),
        "ema": change("no moving average", "--model.average.decay 0"),
        "momentum": change(
            "Adam with momentum",
            "--model.generator_optimizer.betas [0.5,0.99] "
            "--model.discriminator_optimizer.betas [0.5,0.99]",
        ),
        "equal_rates": change(
            "the generator's learning rate for both",
            "--model.discriminator_optimizer.lr 0.001",
        ),
    },
)
STUDIES = {"tricks": TRICKS, "cgan": CGAN}


def table(study: Study, logs: Sequence[Log]) -> Section:
    """Returns a row for each change: means and standard deviations over its seeds."""
    every = f" with `{' '.join(study.options)}`" if study.options else ""
    section = Section(
        study.title,
        ["change", "option", "seeds", *study.scores, "CPU-minutes"],
        notes=[
            f"`{study.config}`{every}, and one change. MNIST's validation images. frechet, "
            "modes_kl: lower is better; the others: near real images' value. CPU-minutes of "
            "training, on one thread."
        ],
    )
    for name, (text, options) in study.changes.items():
        own = [log for log in logs if log["change"] == name]
        done = [log for log in own if log["status"] == "done"]
        seeds = str(len(done)) if len(done) == len(own) else f"{len(done)} of {len(own)}"
        cells = [spread_of([log["scores"][key] for log in done]) for key in study.scores]
        minutes = spread_of([log["cpu_seconds"]["fit"] / 60 for log in done])
        option = f"`{' '.join(options)}`" if options else ""
        section.rows.append([text, option, seeds, *cells, minutes])
    floors = [log["real_images"] for log in logs if log["status"] == "done"]
    if floors:
        cells = [spread_of([floors[0][key]]) for key in study.scores]
        section.rows.append(["real images", "", "", *cells, ""])
    return section


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python -m benchmarks.ablations",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument("study", choices=STUDIES)
    found.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    found.add_argument("--only", nargs="+", metavar="CHANGE", help="of the study; default: all")
    found.add_argument("--data-dir", type=Path, default=Path("data"), help="contains MNIST/raw")
    found.add_argument("--out", type=Path, default=ROOT / "docs/quality/ablations", help="a folder")
    found.add_argument("--runs", type=Path, default=ROOT / "runs", help="folder of the runs")
    return found


def read_logs(path: Path, study: Study) -> list[Log]:
    """Returns the runs that are kept in a file.

    Raises:
        UserError: One of them is not of the study as it is now.
    """
    logs: list[Log] = read_json(path) if path.exists() else []
    sha = config_sha256(study.config)
    for log in logs:
        name, seed = log["change"], log["seed"]
        options = [*study.trial(name, seed).options] if name in study.changes else None
        if (log["config_sha256"], log["options"]) != (sha, options):
            raise UserError(
                f"{path}: the run of {name!r} with seed {seed} has another config or other "
                "options than today's: remove the file to run all again, or give --out another "
                "folder"
            )
    return logs


def run(options: argparse.Namespace) -> None:
    """Runs what is missing, seed by seed; writes the table after each run and at the end."""
    study = STUDIES[options.study]
    unknown = set(options.only or ()) - study.changes.keys()
    if unknown:
        raise UserError(
            f"--only: {options.study} has no change {min(unknown)!r}: choose from "
            f"{', '.join(study.changes)}"
        )
    path = options.out / f"{options.study}.json"
    logs = read_logs(path, study)
    known = {(log["change"], log["seed"]) for log in logs}
    for seed in options.seeds:
        for name in options.only or study.changes:
            if (name, seed) in known:
                continue
            folder = options.runs / options.study / name
            log = train_and_score(study.trial(name, seed), options.data_dir, folder)
            log = {key: log[key] for key in KEPT if key in log} | {
                key: {score: log[key].get(score) for score in study.scores}
                for key in ("scores", "real_images")
                if key in log
            }
            logs.append({"change": name} | log)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, logs)
            write_table(path.with_suffix(".md"), study, logs)
            print(name, seed, log["status"], log.get("scores", log.get("reason")), flush=True)
    if logs:
        write_table(path.with_suffix(".md"), study, logs)


def write_table(path: Path, study: Study, logs: Sequence[Log]) -> None:
    text = table(study, logs).markdown() + "\n"
    write(path, partial(Path.write_text, data=text))


def main(args: list[str] | None = None) -> None:
    try:
        run(parser().parse_args(args))
    except UserError as error:
        announce(error)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
