"""`compare` puts runs side by side."""

import cProfile
import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commands.compare import compare
from results import Run
from results.tables import ARROWS, MAX_RUNS_IN_PICTURE, Row, plot_runs, read_runs, table
from runtime.errors import printable
from tests.results.recorded import result
from tests.test_cli import fails, run

STAGES = ["val", "test"]


def results(folder: Path, frechet: float | None, seed: int = 0, **config: Any) -> Path:
    """Makes the folder of a run that `test` has scored."""
    folder.mkdir(parents=True)
    scores = {"frechet": frechet, "memorization": 1.5, "recall": None}
    record(folder, result(scores, floor={"frechet": 0.1}))
    model = {"class_path": "models.GAN", "init_args": {"width": 8, **config}}
    text = json.dumps({"seed_everything": seed, "model": model, "ckpt_path": str(folder)})
    (folder / "config.yaml").write_text(text)  # JSON is YAML
    return folder


def record(folder: Path, *found: dict[str, Any]) -> None:
    (folder / "metrics.json").write_text(json.dumps({"test": found}))


def logged(folder: Path, text: str) -> Path:
    """Makes the folder of a run that has only trained."""
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text(text)
    return folder


def read(*folders: Path) -> list[Row]:
    return read_runs(folders, STAGES)


def test_scores_are_rows_and_runs_are_columns(tmp_path, capsys):
    runs = [results(tmp_path / str(i), value, seed=i) for i, value in enumerate([0.5, 2.0])]
    run("compare", *map(str, runs), "--out", str(tmp_path / "out"))
    printed = capsys.readouterr().out.replace(" (", "(")
    rows = {line.split()[0]: line.split()[1:] for line in printed.splitlines()}
    assert rows["0"] == ["1", "mean", "std"]  # the names of the runs, then their summary
    assert rows["seed_everything"] == ["0", "1"]
    assert rows["test/frechet"] == ["0.5(0.1)", "2(0.1)", "1.25", "1.061"]  # 1.5 / sqrt(2)
    assert rows["test/recall"] == ["-"] * 4
    assert "the score of real images" in printed
    with (tmp_path / "out" / "comparison.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["test/frechet"] for line in lines] == ["0.5", "2.0"]
    assert [line["test/frechet (real images)"] for line in lines] == ["0.1", "0.1"]
    assert [line["test/recall"] for line in lines] == ["", ""]
    assert [line["seed_everything"] for line in lines] == ["0", "1"]


def test_runs_of_different_settings_have_no_mean(tmp_path):
    """A setting that only one of them has counts as well."""
    first = results(tmp_path / "a", 0.5)
    for second in (results(tmp_path / "b", 2.0, extra=1), results(tmp_path / "c", 2.0, width=9)):
        assert [*table(read(first, second)).columns] == ["a", second.name]


def test_a_folder_means_all_runs_below_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("iris/version_10", "iris/version_9", "gates/version_0"):
        results(tmp_path / "runs" / name, 1.0, width=len(name))
    assert [*compare().columns] == ["gates", "iris/version_9", "iris/version_10"]
    assert [*compare([Path("runs/iris"), Path("runs/gates/version_0")]).columns] == [
        "iris",
        "gates",
    ]
    assert (tmp_path / "runs/comparison.csv").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_one_run_twice_is_said_and_has_no_spread(tmp_path, capsys):
    places = [results(tmp_path / name, 0.5) for name in "ab"]
    assert [*compare(places).columns] == ["a", "b"]
    assert "the same settings and the same seed" in capsys.readouterr().out


def test_a_list_of_runs(tmp_path, capsys):
    results(tmp_path / "gan", 0.25, width=3)
    logged(tmp_path / "iris", "step,train/loss,val/loss,val/accuracy\n50,1,0.5,0.75\n")
    run("compare", str(tmp_path), "--list")
    gan, iris = (line.split() for line in capsys.readouterr().out.splitlines()[1:])
    assert gan == ["gan", "GAN", "-", "4", "test/frechet", "0.25"]
    assert iris == ["iris", "-", "-", "50", "val/accuracy", "0.75"]
    assert not (tmp_path / "comparison.csv").exists()


def test_a_row_of_the_list_fits_80_letters(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    config = "data: {class_path: datamodules.Images, init_args: {dataset: mnist}}\n"
    model = "model: {class_path: models.VariationalAutoencoder}\n"
    for name in ("an-experiment-with-a-long-name", "b"):
        folder = results(tmp_path / name / "version_10", None)
        intervals = {"accuracy": [0.999, 0.9999]}
        record(folder, result({"accuracy": 0.9995}, 1234567, intervals=intervals))
        (folder / "config.yaml").write_text(config + model)
    run("compare", str(tmp_path), "--list")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= 80
    assert "-a-long-name " in lines[1]
    assert " mnist " in lines[1]


def test_a_list_names_the_data_set_that_was_found(tmp_path, capsys):
    folder = results(tmp_path / "gan", 1.0)
    config = "data: {class_path: datamodules.Images, init_args: {dataset: auto}}\n"
    (folder / "config.yaml").write_text(config)
    (folder / "hparams.yaml").write_text("sizes: !!python/tuple [1]\ndataset_found: digits\n")
    run("compare", str(tmp_path), "--list")
    assert " digits " in capsys.readouterr().out


def test_runs_are_named_by_what_differs_in_their_paths(tmp_path):
    paths = [tmp_path / name for name in ("x/gan/v0", "x/cgan/v0", "x/cgan/v1")]
    folders = [results(path, 1.0) for path in paths]
    assert [found.name for found in read(*folders)] == ["gan", "cgan/v0", "cgan/v1"]
    assert [found.name for found in read(folders[0])] == ["v0"]


def test_without_metrics_json_the_last_logged_values_count(tmp_path):
    text = "step,train/d_loss,val/d_loss,val/frechet\n1,9,5,\n2,9,4,0.3\n3,9,,\n4,9,7"
    folder = logged(tmp_path / "a", text)  # whose last row is not complete
    [found] = read(folder)
    assert (found.scores, found.floors) == ({"val/d_loss": 4.0, "val/frechet": 0.3}, {})
    assert read_runs([folder], ["test"])[0].scores == {}


def test_an_emptied_log_is_named(tmp_path, capsys):
    folder = results(tmp_path / "a", 0.5)
    (folder / "metrics.csv").touch()
    assert read(folder)[0].scores["test/frechet"] == 0.5
    assert capsys.readouterr().err == f"{folder}/metrics.csv has no values\n"


@pytest.mark.parametrize("options", [[], ["--list"]])
def test_runs_of_which_none_can_be_read_are_an_error(options, tmp_path, capsys):
    folder = results(tmp_path / "a", 0.5)
    (folder / "metrics.json").write_text('{"test": {"sco')
    with pytest.raises(SystemExit):
        run("compare", str(folder), *options)
    skipped, error = capsys.readouterr().err.splitlines()
    assert skipped.startswith(f"Skipped: {folder}/metrics.json: cannot be read as JSON (")
    assert skipped.endswith(f"): `python cli.py test {folder}` writes it anew")
    assert error == "error: none of these runs can be read, for the reasons above."


def test_metrics_json_takes_precedence_stage_by_stage(tmp_path):
    folder = results(tmp_path / "a", 0.5)
    (folder / "metrics.csv").write_text("val/frechet,test/frechet\n0.7,0.6\n")
    [found] = read(folder)
    assert found.scores["val/frechet"] == 0.7
    assert found.scores["test/frechet"] == 0.5
    assert found.floors == {"test/frechet": 0.1}


def test_a_result_of_other_data_has_its_own_row(tmp_path, capsys):
    """The run's own row has the newest result on its own data, and each the step it is of."""
    found = [result({"frechet": 0.5}, 7), result({"frechet": 9.0}, 7, own=False, floor={})]
    found += [result({"frechet": 0.25}, 9), result({"frechet": 8.0}, 9, own=False)]
    record(results(tmp_path / "a", 0.5), *found)
    (tmp_path / "a" / "metrics.csv").write_text("step,train/loss\n920,0.5\n")
    assert Run(tmp_path / "a").results("test") == found
    shown = table(read(tmp_path / "a"))
    assert shown.loc["test/step"].to_dict() == {"a": "9", "a, test of other": "9"}
    assert shown.loc["test/frechet"].tolist() == ["0.25", "8"]
    assert shown.loc["scored data"].tolist() == ["-", "other"]
    run("compare", str(tmp_path), "--list")
    own, other = (line.split() for line in capsys.readouterr().out.splitlines()[1:])
    assert own == ["a", "GAN", "-", "9", "test/frechet", "0.25"]
    assert other[-4:] == ["other", "9", "test/frechet", "8"]


def test_an_accuracy_has_its_interval_wherever_it_is_shown(tmp_path, capsys):
    counts = {"train": 800, "val": 40, "test": 95}
    for name, few in (("a", True), ("b", False)):
        found = result({"accuracy": 0.811, "loss": 1.5}, intervals={"accuracy": [0.7206, 0.8767]})
        found["data"]["counts"] |= counts if few else {}
        record(results(tmp_path / name, 0.5, seed=few), found)
    run("compare", str(tmp_path))
    printed = capsys.readouterr().out
    assert printed.count("0.811 [0.721, 0.877]") == 2
    assert "In brackets: the 95 % interval" in printed
    assert "Fewer than 100 examples, so uncertain: a\n" in printed
    with (tmp_path / "comparison.csv").open(newline="") as file:
        (row, _) = csv.DictReader(file)
    low, high = row["test/accuracy (95 %, low)"], row["test/accuracy (95 %, high)"]
    assert (low, high) == ("0.7206", "0.8767")
    accuracy = plot_runs(read(tmp_path / "a", tmp_path / "b")).axes[0]
    (lines,) = accuracy.collections
    assert lines.get_segments()[1].tolist() == [[0.7206, 1], [0.8767, 1]]
    run("compare", str(tmp_path), "--list")
    assert capsys.readouterr().out.splitlines()[1].endswith(" test/accuracy 0.811 0.721-0.877")


def test_scores_of_an_earlier_version_are_a_line(tmp_path, capsys):
    results(tmp_path / "b", 0.25)
    old = results(tmp_path / "a", 0.5) / "metrics.json"
    old.write_text('{"test": {"scores": {"frechet": 0.5}}}')
    run("compare", str(tmp_path))
    remedy = f"`python cli.py test {tmp_path / 'a'}` writes it anew"
    error = capsys.readouterr().err
    assert error == f"Skipped: {old} was written by an earlier version: {remedy}\n"


def test_only_settings_that_differ_are_shown_in_words(tmp_path):
    def optimizer(name: str, lr: float) -> dict[str, Any]:
        init = {"lr": lr, "betas": [0.5, 0.9]}
        return {"g": {"class_path": f"torch.optim.{name}", "init_args": init}, "d": {"lr": lr}}

    first = results(tmp_path / "a", 1.0, **optimizer("Adam", 0.1), depth={"class_path": "x.A"})
    second = results(tmp_path / "b", 1.0, **optimizer("SGD", 0.2), depth={"class_path": "x.B"})
    rows = table(read(first, second)).drop(
        index=["test/step", "test/frechet", "test/memorization", "test/recall"]
    )
    assert rows.T.to_dict("list") == {
        "g": ["Adam", "SGD"], "model.g.lr": ["0.1", "0.2"], "model.d.lr": ["0.1", "0.2"],
        "depth": ["A", "B"],
    }  # fmt: skip


def test_a_table_fits_the_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    for i in range(9):
        results(tmp_path / f"a_long_name_{i}", 0.5, width=str(i) * 80)
    compare([tmp_path], out=tmp_path / "o")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-2])) <= 60
    assert sum("test/frechet" in line for line in lines) > 2


def test_runs_without_results_are_named_and_skipped(tmp_path, capsys):
    done, empty = results(tmp_path / "a", 0.5), logged(tmp_path / "b", "")
    assert [*compare([done, empty]).columns] == ["a"]  # one run has no mean and no picture
    assert not (tmp_path / "comparison.png").exists()
    assert str(empty) in capsys.readouterr().err


def test_an_experiment_is_its_newest_run_that_has_a_checkpoint(tmp_path):
    scores = {"version_0": 0.25, "version_1": 0.5, "version_2": 0.75}  # the last one was killed
    runs = [results(tmp_path / name, score) for name, score in scores.items()]
    for run_folder in runs[:2]:
        (run_folder / "checkpoints").mkdir()
        (run_folder / "checkpoints" / "last.ckpt").touch()
    assert compare([tmp_path]).loc["test/frechet"].to_list() == ["0.5 (0.1)"]


BROKEN = [  # a file of a run, and what somebody else has written into it
    *(("config.yaml", text) for text in ("a: [1", "[1, 2]", "5", "", "a: " + 3000 * "[")),
    ("config.yaml", bytes(range(256))),
    ("config.yaml", "a0: &a0 [x]\n" + "".join(
        f"a{k}: &a{k} [{', '.join(9 * [f'*a{k - 1}'])}]\n" for k in range(1, 30)
    )),
    *(("metrics.json", text) for text in ("[1, 2]", "5", "{", "\0", 100_000 * "[")),
    *(("metrics.json", json.dumps({"test": found})) for found in (5, {}, {"a": 5}, [5], [{}])),
    *(("metrics.json", json.dumps({"test": [result({"loss": 1}) | damage]})) for damage in (
        {"scores": 5}, {"scores": {"loss": "low"}}, {"scores": {"loss": [[]]}}, {"floor": 5},
        {"scores": {"loss": 10**400}}, {"scores": {"loss": -(10**400)}}, {"floor": {"loss": {}}},
        {"intervals": {"loss": 5}}, {"intervals": {"loss": [1]}}, {"intervals": {"loss": [1, ""]}},
        {"checkpoint": "last"}, {"checkpoint": {"name": 5, "step": 4}}, {"data": {"title": "a"}},
        {"checkpoint": {"name": "a", "step": "4"}}, {"own_data": 1}, {"seed": "a"}, {"time": 5},
        {"data": {"title": "a", "content": None, "counts": {"test": "many"}}},
    )),
    ("metrics.json", b'{"test": "\xff\xfe"}'),
    ("metrics.csv", bytes(range(256)) + b"\n"),
    ("metrics.csv", "step,val/loss\nmany,1\n"),
    ("metrics.csv", "step,val/loss\n1,low\n"),
    ("metrics.csv", 2_000_000 * "," + "\n"),
    ("metrics.csv", 'step,val/loss\n"' + 2_000 * (100 * "1" + "\n")),  # one field
    ("metrics.csv", "step," + 300_000 * "a" + "\n1,2\n"),
]  # fmt: skip


@pytest.mark.parametrize("options", [[], ["--list"]], ids=["table", "list"])
@pytest.mark.parametrize(("name", "content"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_run_is_a_line_and_the_others_are_shown(name, content, options, tmp_path, capsys):
    broken = results(tmp_path / "broken", 0.5) / name
    broken.write_bytes(content if isinstance(content, bytes) else content.encode())
    results(tmp_path / "gan", 0.25)
    run("compare", str(tmp_path), *options)
    printed = capsys.readouterr()
    assert "0.25" in printed.out
    assert printed.err.startswith(f"Skipped: {broken}")
    assert len(printed.err.splitlines()) == 1
    assert len(printed.err) < 500


@pytest.mark.parametrize("text", ["", "val/loss\n0.5\n", "\0\0\n", 3_000_000 * "1"])
def test_a_log_without_a_step_is_a_run_without_steps(text, tmp_path, capsys):
    (results(tmp_path / "gan", 0.25) / "metrics.csv").write_text(text)
    run("compare", str(tmp_path), "--list")
    row = capsys.readouterr().out.splitlines()[1]
    assert row.split() == ["gan", "GAN", "-", "4", "test/frechet", "0.25"]


def test_a_setting_that_only_one_run_has_is_shown(tmp_path):
    """The arguments of a class that others do not have are shown only if they differ."""
    views: list[Any] = [{"class_path": "x.View", "init_args": {"scale": k, "d": 1}} for k in (2, 3)]
    runs = [results(tmp_path / "a", 0.5, view=None, old=None), results(tmp_path / "b", 0.5, dim=4)]
    runs += [
        results(tmp_path / name, 0.5, view=view) for name, view in zip("cd", views, strict=True)
    ]
    rows = table(read(*runs)).T.to_dict("list")
    assert rows["view"] == ["-", "-", "View", "View"]
    assert rows["scale"] == ["-", "-", "2", "3"]
    assert rows["dim"] == ["-", "4", "-", "-"]
    assert rows.keys().isdisjoint(["d", "old"])


def test_a_list_of_many_runs_is_quick(tmp_path):
    """Counts calls, because seconds depend on the machine."""
    text = "".join(f"{step},0.5,0.5\n" for step in range(100))
    network: dict[str, Any] = {
        f"block_{k}": {"class_path": "x.Y", "init_args": {"a": [1, 2]}} for k in range(20)
    }
    for k in range(5):
        folder = results(tmp_path / str(k), 0.5, **network)
        (folder / "metrics.csv").write_text("step,train/loss,val/loss\n" + text)
    assert calls_of(lambda: compare([tmp_path], list=True)) < 5 * 10_000


def calls_of(function: Callable[[], object]) -> int:
    """Counts the calls of functions, also of those in C."""
    profile = cProfile.Profile()
    profile.runcall(function)
    return sum(entry.callcount for entry in profile.getstats())


def test_the_picture_leaves_out_what_nobody_could_read(tmp_path, capsys):
    for k in range(MAX_RUNS_IN_PICTURE + 1):
        results(tmp_path / f"{k}", k)
    compare([tmp_path])
    assert f"No picture of more than {MAX_RUNS_IN_PICTURE} runs" in capsys.readouterr().out
    assert (tmp_path / "comparison.csv").is_file()
    assert not (tmp_path / "comparison.png").exists()


@pytest.mark.parametrize("options", [[], ["--list"]])
def test_names_of_others_command_no_terminal(options, tmp_path, capsys):
    results(tmp_path / "a\x1b[2J", 0.5)
    results(
        tmp_path / "b$\\frac$", 0.25, **{"class_path": "\x1b]0;owned\x07", "\x1b[31m": "\x1b[1m"}
    )
    other = result({"frechet": 0.5}, own=False)
    other["data"]["title"] = "\x1b[2J"
    for name in "ce":
        found = result({"\x1b[2J$\\frac$": 1, "frechet": 0.5}, floor={"\x1b": 1})
        record(results(tmp_path / name, 0.25), found, other)
    logged(tmp_path / "d", "step,val/\x1b[2J\n1,2\n")
    run("compare", str(tmp_path), *options)
    printed = capsys.readouterr()
    assert all(printable(line) == line for line in (printed.out + printed.err).split("\n"))
    assert r"a\x1b[2J has control characters in its name" in printed.err
    for file in tmp_path.glob("*.csv"):
        assert all(printable(line) == line for line in file.read_text().splitlines())


def test_mistakes_are_one_line(tmp_path, in_root, capsys):
    assert "there is no run in" in fails(capsys, "compare", str(tmp_path))
    assert "there is no folder nothing." in fails(capsys, "compare", "nothing")
    empty = str(logged(tmp_path / "b", ""))
    assert "`python cli.py test --ckpt_path RUN`" in fails(capsys, "compare", empty)
    line = fails(capsys, "compare", str(results(tmp_path / "a", 0.5)), "--out=README.md")
    assert line.startswith("error: --out README.md: cannot be written to (File exists).")


def test_the_picture_has_scores_that_two_runs_share(tmp_path):
    text = "step,val/loss,val/accuracy,val/accuracy_class_0\n1,{},0.5,0.5\n"
    logs = [logged(tmp_path / name, text.format(loss)) for name, loss in (("a", 1), ("b", 3))]
    runs = read(*logs, results(tmp_path / "gan", 0.3))
    assert plot_runs(runs[1:]) is None
    figure = plot_runs(runs)
    loss, accuracy = figure.axes
    assert loss.get_title() == f"val: loss {ARROWS['lower']}"
    assert accuracy.get_title() == f"val: accuracy {ARROWS['higher']}"
    assert [*loss.lines[0].get_xdata()][:2] == [1, 3]
    assert [tick.get_text() for tick in loss.get_yticklabels()] == ["a", "b", "gan"]
