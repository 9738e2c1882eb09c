"""Writes published results into the documentation and configs: `python -m benchmarks.measured`.

docs/quality.csv has all runs that were scored, benchmarks/results/ the speed. A text says what it
shows, in one of these forms, and this command writes the numbers, which nobody types:

    <!-- scores: real digits = cgan, cgan, gan | config, frechet range, seeds -->   one row for each
        part of benchmarks/reproduce.py (also gan-*), or for its real images, up to <!-- end -->
    <!-- speed: 2026-11-30-amd-epyc... -->   times beside Keras of a file, up to <!-- end -->
    [0.0334](docs/measured.md "cgan frechet")       one number
    # Measured (cgan): ...                          a line of a config
"""

import fnmatch
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pandas as pd
import yaml

from benchmarks.reproduce import PARTS, PUBLISHED
from benchmarks.timing import digits
from benchmarks.worker import ROOT
from runtime.errors import UserError, print_error

HEADS = {
    "kid": "KID",
    "frechet": "Frechet distance",
    "real_frechet": "real",
    "label_accuracy": "label accuracy",
    "balanced_accuracy": "mean over classes",
    "gan_train": "GAN-train",
}
FACTS = ("options", "seeds", "time", "cpu", "date")  # of runs, not scores
TABLE = re.compile(r"(<!-- (scores|speed): ([^>]*?) -->\n)[^<]*(<!-- end -->)")
NUMBER = re.compile(r'\[[^][]*\](\([\w./]*measured\.md "([\w-]+) ([\w ]+)"\))')
HEADER = re.compile(r"^(# Measured \(([\w-]+)\): ).*$", re.MULTILINE)


@cache
def read(file: Path) -> pd.DataFrame:
    """Returns all runs of a file."""
    return pd.read_csv(file)


@cache
def runs_of(part: str) -> pd.DataFrame:
    """Returns the newest run of each seed of a part."""
    if part not in PARTS:
        raise UserError(f"there is no part {part!r} in benchmarks/reproduce.py")
    runs = read(PUBLISHED)
    runs = runs[(runs["part"] == part) & (runs["split"] == PARTS[part].split)]
    runs = runs[runs["status"] == "done"].drop_duplicates("seed", keep="last")
    if runs.empty:
        raise UserError(
            f"{PUBLISHED.name} has no run of {part}: make reproduce-quality PART={part}"
        )
    return runs


def short_cpu(name: str) -> str:
    """Shortens `AMD EPYC, family 25, model 17` to `EPYC 25-17`."""
    name = re.sub(r", family (\d+), model (\d+)", r" \1-\2", name)
    return name.removeprefix("AMD ").replace("Intel(R) Xeon(R) Processor", "Xeon")


@cache
def fact(part: str, name: str) -> str:
    """Returns what the scores of a part hold for."""
    runs = runs_of(part)
    seconds = runs["cpu_seconds_process"].mean()
    time = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
    return {
        "options": f"`{' '.join(PARTS[part].options)}`" if PARTS[part].options else "",
        "seeds": str(len(runs)),
        "time": "" if pd.isna(seconds) else time,
        "cpu": ", ".join(sorted({short_cpu(cpu) for cpu in runs["cpu"]})),
        "date": runs["date"].max(),
    }[name]


@cache
def score(part: str, column: str) -> str:
    """Returns the mean of a score over seeds, with `SCORE range` or `SCORE std` as the column."""
    name, _, spread = column.partition(" ")
    values = runs_of(part)[name]
    exact = digits if "frechet" in name or "seconds" in name else "{:z.3f}".format  # no -0.000
    exact = "{:.4f}".format if name == "accuracy" else exact
    found = values.mean(), values.min(), values.max(), values.std()
    mean, low, high, std = ("" if pd.isna(value) else exact(value) for value in found)
    spreads = {"range": f" ({low} to {high})", "std": f" +- {std}"}
    return mean + spreads.get(spread, "") if std else mean


def markdown(rows: list[list[str]]) -> str:
    """Formats a table; the first row has its heads."""
    head, *others = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|---" * len(rows[0]) + "|", *others])


def scores(wanted: str) -> str:
    """Returns the table `PART, NAME = PART, ... | COLUMN, ...`, with real images as NAME."""
    parts, columns = ([word.strip() for word in half.split(",")] for half in wanted.split("|"))
    rows = [[HEADS.get(name.split()[0], name.split()[0]) for name in columns]]
    entries = [[name] if "*" not in name else fnmatch.filter(PARTS, name) for name in parts]
    for entry in sum(entries, []):
        name, _, part = (word.strip() for word in entry.rpartition("="))
        config = PARTS[part].config.removeprefix("configs/")
        row = [name or f"`{config if columns[0] == 'config' else part}`"]
        for column in columns[1:]:
            if name:
                real = f"real_{column.split()[0]}"
                row.append(score(part, real) if real in runs_of(part) else "")
            else:
                row.append((fact if column in FACTS else score)(part, column))
        rows.append(row)
    return markdown(rows)


def tables(text: str) -> Iterator[dict[str, str]]:
    """Yields each row of all tables of a text, by their heads."""
    heads: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            heads = []
        elif not heads:
            heads = cells
        elif not line.startswith(("| ---", "|---")):
            yield dict(zip(heads, cells, strict=True))


def speed(name: str) -> str:
    """Returns the times of a speed result: steps, and whole processes that Keras ran as well."""
    text = (ROOT / f"benchmarks/results/{name}.md").read_text()
    names = ("Keras", "Ladder", "plain PyTorch")
    found: dict[str, dict[str, str]] = {}  # by what was timed, then by contender
    for row in tables(text):
        if "contender" in row:
            times = found.setdefault(f"step of {row['system']}", {})
            times[row["contender"]] = f"{row['ms per step']} ms, {row['x Keras']} x"
        elif row.get("Keras, s"):
            times = found.setdefault(f"whole process, {row['process']}", {})
            times["Keras"] = f"{row['Keras, s']} s,"
            times["Ladder"] = f"{row['Ladder, s']} s, {row['x Keras']} x"
    rows = [[what, *(times.get(name, "") for name in names)] for what, times in found.items()]
    for row in rows:
        row[1] = row[1].partition(",")[0]  # of Keras, not x Keras
    facts = re.findall(r"^- \*\*(?:CPU|Versions|Commit)\*\* (.*)$", text, re.MULTILINE)
    return f"{markdown([['', *names], *rows])}\n\nMeasured on {name[:10]}: {'; '.join(facts)}."


def header(part: str) -> str:
    """Returns what a config reaches, for its header."""
    if runs_of(part)["accuracy"].notna().all():
        text = f"accuracy {score(part, 'accuracy range')}"
    else:
        means = {name: score(part, name) for name in ("frechet", "precision", "recall")}
        text = ", ".join(
            f"{HEADS.get(name, name)} {mean} (real {score(part, f'real_{name}')})"
            for name, mean in means.items()
        )
    wanted = PARTS[part]
    data = yaml.safe_load((ROOT / wanted.config).read_text())["data"]["init_args"]
    given = dict(zip(wanted.options, wanted.options[1:], strict=False)).get("--data.dataset")
    images = f"{wanted.pictures or given or data['dataset']}, {wanted.split} images"
    seeds, time, cpu = (fact(part, name) for name in ("seeds", "time", "cpu"))
    return f"{text}; {images}, seeds: {seeds}, {f'{time} on one core, ' if time else ''}{cpu}"


def written(text: str) -> str:
    """Replaces the numbers in a text by the published ones."""
    kinds = {"scores": scores, "speed": speed}
    text = TABLE.sub(lambda m: f"{m[1]}\n{kinds[m[2]](m[3])}\n\n{m[4]}", text)
    text = NUMBER.sub(lambda m: f"[{(fact if m[3] in FACTS else score)(m[2], m[3])}]{m[1]}", text)
    return HEADER.sub(lambda m: m[1] + header(m[2]), text)


def texts() -> list[Path]:
    """Returns the files that show published results."""
    patterns = ("*.md", "docs/*.md", "slurm/*.md", "configs/**/*.yaml", "examples/**/*.yaml")
    return sorted(path for pattern in patterns for path in ROOT.glob(pattern))


def main() -> None:
    for path in texts():
        old = path.read_text()
        if (new := written(old)) != old:
            path.write_text(new)
            print(f"Written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print_error(error)
        raise SystemExit(2) from None
