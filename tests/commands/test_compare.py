"""`compare` puts runs side by side."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

from callbacks import dashboard
from commands import compare
from commands.compare_figures import BETTER, HIGHER, LOWER, draw, shared
from runtime.files import read_json
from tests.test_cli import fails, run


def results(folder: Path, frechet: float | None, seed: int = 0, **config: Any) -> Path:
    """Makes the folder of a run that `test` has scored."""
    folder.mkdir(parents=True)
    found = {"scores": {"frechet": frechet, "recall": None}, "floor": {"frechet": 0.1}}
    (folder / "metrics.json").write_text(json.dumps({"test": found}))
    model = {"class_path": "models.GAN", "init_args": {"width": 8, **config}}
    text = json.dumps({"seed_everything": seed, "model": model, "ckpt_path": str(folder)})
    (folder / "config.yaml").write_text(text)  # JSON is YAML
    return folder


def logged(folder: Path, text: str) -> Path:
    """Makes the folder of a run that has only trained."""
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text(text)
    return folder


def rows_of(printed: str) -> dict[str, list[str]]:
    lines = [line.replace(" (", "(").split() for line in printed.splitlines()]
    return {line[0]: line[1:] for line in lines}


def test_runs_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [results(tmp_path / str(i), value, seed=i) for i, value in enumerate([0.5, 2.0])]
    run("compare", *map(str, runs), "--out", str(tmp_path / "out"))
    rows = rows_of(capsys.readouterr().out)
    assert rows["run"] == ["seed_everything", "test/frechet(real", "images)", "test/recall"]
    assert rows["0"] == ["0", "0.5(0.1)", "-"]
    assert rows["1"] == ["1", "2(0.1)", "-"]
    assert rows["mean"] == ["1.25", "-"]
    assert rows["std"] == ["1.061", "-"]  # 1.5 / sqrt(2)
    with (tmp_path / "out" / "comparison.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["test/frechet"] for row in table] == ["0.5", "2.0"]
    assert [row["test/frechet (real images)"] for row in table] == ["0.1", "0.1"]
    assert [row["test/recall"] for row in table] == ["", ""]
    assert [row["seed_everything"] for row in table] == ["0", "1"]
    assert imread(tmp_path / "out" / "comparison.png").shape[0] > 50


def test_runs_of_different_settings_have_no_mean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A setting that only one of them has counts as well."""
    first = results(tmp_path / "a", 0.5)
    for second in (results(tmp_path / "b", 2.0, extra=1), results(tmp_path / "c", 2.0, width=9)):
        run("compare", str(first), str(second))
        assert rows_of(capsys.readouterr().out).keys() == {"run", "a", second.name, "Wrote"}


def test_an_experiment_stands_for_its_newest_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [results(tmp_path / f"runs/iris/version_{i}", 1.0) for i in range(3)]
    for folder, time in zip(runs, (2, 3), strict=False):  # the last one was never saved
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints/last.ckpt").touch()
        os.utime(folder / "checkpoints/last.ckpt", (time, time))
    other = results(tmp_path / "runs/gates/version_0", 2.0)
    run("compare", "runs/iris", str(other))
    rows = rows_of(capsys.readouterr().out)
    assert rows.keys() == {"run", "iris/version_1", "gates/version_0", "mean", "std", "Wrote"}
    assert rows["Wrote"] == ["runs/comparison.csv,", "runs/comparison.png"]
    assert (tmp_path / "runs/comparison.csv").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_one_run_has_no_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("compare", str(results(tmp_path / "a", 0.5)), "--out", str(tmp_path))
    assert rows_of(capsys.readouterr().out).keys() == {"run", "a", "Wrote"}


def test_runs_are_named_by_what_differs_in_their_paths(tmp_path: Path) -> None:
    folders = [results(tmp_path / name, 1.0) for name in ("gan/v0", "cgan/v0")]
    assert [found.name for found in compare.load(folders)] == ["gan/v0", "cgan/v0"]
    assert [found.name for found in compare.load([*folders[:1], *folders[:1]])] == ["v0"]


def test_without_metrics_json_the_last_logged_values_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "step,train/d_loss,val/d_loss,val/frechet\n1,9,5,\n2,9,4,0.3\n3,9,,\n"
    folder = logged(tmp_path / "a", text)
    run("compare", str(folder), "--out", str(tmp_path))
    assert rows_of(capsys.readouterr().out)["a"] == ["4", "0.3"]  # and no training loss
    scores, floors = compare.scores_of(folder, ["test"])
    assert scores == floors == {}


def test_metrics_json_takes_precedence_stage_by_stage(tmp_path: Path) -> None:
    folder = results(tmp_path / "a", 0.5)
    (folder / "metrics.csv").write_text("val/frechet,test/frechet\n0.7,0.6\n")
    scores, floors = compare.scores_of(folder, ["val", "test"])
    assert scores == {"val/frechet": 0.7, "test/frechet": 0.5, "test/recall": None}
    assert floors == {"test/frechet": 0.1}


def test_settings_that_all_runs_have_and_that_differ_are_shown(tmp_path: Path) -> None:
    first = results(tmp_path / "a", 1.0, optimizer={"class_path": "torch.optim.Adam"}, extra=1)
    second = results(tmp_path / "b", 1.0, optimizer={"class_path": "torch.optim.SGD"})
    runs = compare.load([first, second])
    assert compare.differences(runs) == ["model.optimizer"]
    assert [found.config["model.optimizer"] for found in runs] == ["Adam", "SGD"]


def test_a_table_too_wide_for_the_terminal_is_turned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    run("compare", str(results(tmp_path / "a", 0.5)), "--out", str(tmp_path))
    assert rows_of(capsys.readouterr().out)["run"] == ["a"]


def test_runs_without_results_are_named_and_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = results(tmp_path / "a", 0.5)
    (tmp_path / "empty").mkdir()
    others = [str(tmp_path / name) for name in ("empty", "missing")]
    run("compare", str(done), *others, "--out", str(tmp_path))
    printed = capsys.readouterr()
    assert printed.err == f"Skipped: {others[0]} (no results), {others[1]} (no such folder)\n"
    assert rows_of(printed.out).keys() == {"run", "a", "Wrote"}


def test_without_any_results_the_command_that_writes_them_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(capsys, "compare", str(tmp_path))
    assert f"nothing to compare in {tmp_path} (no results)" in line
    assert "`python cli.py test --ckpt_path RUN`" in line
    done = results(tmp_path / "a", 0.5)
    line = fails(capsys, "compare", str(done), "--stage", "val")
    assert "`python cli.py validate --ckpt_path RUN`" in line


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([], "the following arguments are required: RUN"),
        (["x", "--stage", "fit"], "argument --stage: invalid choice: 'fit'"),
        (["x", "--foo"], "unrecognized arguments: --foo"),
    ],
)
def test_wrong_arguments_are_one_line(
    args: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(capsys, "compare", *args)
    assert line.startswith(f"error: {expected}")
    assert line.endswith("`python cli.py compare --help` lists the options.")


def test_an_unwritable_folder_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = results(tmp_path / "a", 1.0)
    assert "cannot be written to" in fails(capsys, "compare", str(folder), "--out", "/proc/x")


def test_a_broken_config_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = results(tmp_path / "a", 1.0)
    (folder / "config.yaml").write_text("a: [1")
    assert "config.yaml: not valid YAML" in fails(capsys, "compare", str(folder))


def test_a_damaged_file_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("{")
    assert read_json(tmp_path / "metrics.json") == {}


def test_the_picture_has_scores_that_two_runs_share(tmp_path: Path) -> None:
    text = "step,val/loss,val/accuracy,val/accuracy_class_0\n1,{},0.5,0.5\n"
    logs = [logged(tmp_path / name, text.format(loss)) for name, loss in (("a", 1), ("b", 3))]
    runs = compare.load([*logs, results(tmp_path / "gan", 0.3)])
    names = ["val/loss", "val/accuracy", "val/accuracy_class_0", "test/frechet"]
    assert shared(runs, names) == names[:2]
    assert shared(runs[2:], names) == ["test/frechet"]
    loss, accuracy = draw(runs, names).axes
    assert (loss.get_title(), accuracy.get_title()) == (
        f"val/loss {LOWER}",
        f"val/accuracy {HIGHER}",
    )
    dots, mean = loss.lines
    assert list(dots.get_xdata())[:2] == [1, 3]
    assert mean.get_xdata() == [2, 2]
    assert [tick.get_text() for tick in loss.get_yticklabels()] == ["a", "b", "gan"]


def test_the_better_direction_is_that_of_the_scores() -> None:
    arrows = {"lower": LOWER, "higher": HIGHER}
    known = {name: arrows[better] for name, better in dashboard.BETTER.items() if better}
    assert BETTER.items() >= known.items()
