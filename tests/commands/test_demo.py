"""`demo` writes the best runs into one file, opens it, and names how phones reach it."""

import os
import re
import socket
import webbrowser
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

import ladder
from commands import demo
from commands.fit import lightning_run
from models import GAN, Flow, GateMLP, ImageClassifier, PlaneVelocity
from results import Run
from tests.models.gans import small
from tests.test_cli import fails, run


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder in which `demo` shows runs by their names alone, and trains none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "run_data", lambda run, real: {"name": run.name, "real": real})
    monkeypatch.setattr(demo, "train_small_run", lambda kind, _: make_run(tmp_path / kind))
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    return tmp_path


def make_run(folder: Path) -> Path:
    run = folder / "version_0"
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    (run / "checkpoints/last.ckpt").touch()
    (run / "metrics.csv").write_text("step\n")
    return run


@pytest.mark.parametrize(
    ("model", "quantity", "good", "fair"),
    [(small(GAN), "val/frechet", [0.5, 0.1], [0.0, 0.2]),
     (ImageClassifier((1, 28, 28), 10), "val/accuracy", [0.5, 0.9], [1.0, 0.8])],
)  # fmt: skip
def test_the_best_last_score_of_each_kind_is_shown(
    model, quantity, good, fair, folder, monkeypatch
):
    monkeypatch.setattr(Run, "model", lambda run: model)
    scores = {"unscored": [], "nan": ["nan"], "damaged": ["x"], "fair": fair, "good": good}
    for age, (name, values) in enumerate(scores.items()):
        made = make_run(folder / "runs" / name)
        os.utime(made / "checkpoints/last.ckpt", (1000 - age, 1000 - age))
        rows = "".join(f"{step},{value}\n" for step, value in enumerate(values))
        (made / "metrics.csv").write_text(f"step,{quantity}\n" + rows)
        shown = [data["name"] for data in demo.best_runs(folder / "runs")]
        best = name if name in ("fair", "good") else "unscored"  # of equal ones, the newest
        assert {best} == {*shown} - {*demo.SMALL_RUNS}
        assert len(shown) == 2  # the other kind was trained


def test_a_run_that_cannot_be_shown_is_left_out_with_a_reason(folder, capsys):
    runs = folder / "runs"
    make_run(runs / "damaged\x1b[2J")
    torch.save({"hyper_parameters": {"_class_path": "evil.Model"}, "state_dict": {},
                "global_step": 1, "epoch": 0, "pytorch-lightning_version": "2.6.6"},
               make_run(runs / "foreign") / "checkpoints/last.ckpt")  # fmt: skip
    assert [data["name"] for data in demo.best_runs(runs)] == [*demo.SMALL_RUNS]
    lines = sorted(capsys.readouterr().out.splitlines())
    assert len(lines) == 2
    assert lines[0].startswith(f"{runs}/damaged\\x1b[2J/version_0 is left out: ")
    assert lines[1].startswith(f"{runs / 'foreign'}/version_0 is left out: ")
    assert "evil.Model" in lines[1]


def test_only_models_of_images_are_shown():
    assert demo.kind_of(small(GAN)) == "generator"
    assert demo.kind_of(ImageClassifier((1, 28, 28), 10)) == "classifier"
    others = GateMLP(), torch.nn.Linear(2, 2), Flow((2,), network=PlaneVelocity)
    assert [demo.kind_of(model) for model in others] == [""] * 3


def test_the_page_is_written_opened_and_served_by_a_command(folder, monkeypatch, capsys):
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    make_run(folder / "a")
    make_run(folder / "<b>")
    run("demo", "a/version_0", "<b>/version_0", "--real=false")
    assert opened == []  # there is no display
    assert re.match(
        r"demo/index.html: \d\d\d kB, with a, <b>. Open it in a browser.\n"
        r"On phones in this network: python -m http.server 8000 --directory demo, then open http://"
        r"\S+:8000/\n$",
        capsys.readouterr().out,
    )
    text = Path("demo/index.html").read_text("utf-8")
    assert r'[{"name":"a","real":false},{"name":"\u003cb>","real":false}]' in text
    monkeypatch.setenv("DISPLAY", ":0")
    run("demo", "a/version_0", "--out=my pages/lesson.html", "--open=false")
    assert opened == []
    run("demo", "a/version_0", "--out=my pages/lesson.html")
    assert opened == [(folder / "my pages/lesson.html").as_uri()]
    Path("my pages/secret").touch()
    run("demo", "a/version_0", "--out=my pages/lesson.html")
    plain, shared = [line for line in capsys.readouterr().out.splitlines() if "phones" in line][-2:]
    assert "python -m http.server 8000 --directory 'my pages', then open http://" in plain
    assert "'my pages' (which also shares the other files there), then open http://" in shared
    assert shared.endswith(":8000/lesson.html")
    assert "RUN none: no such file or folder" in fails(capsys, "demo", "none")


def test_phones_get_the_address_that_other_machines_see(folder, monkeypatch):
    class Probe:
        def __init__(self, *kind):
            assert kind == (socket.AF_INET, socket.SOCK_DGRAM)  # of which connect sends nothing

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def connect(self, address):
            if not self.there:
                raise OSError("network is unreachable")

        def getsockname(self):
            return "10.1.2.3", 9

    monkeypatch.setattr(socket, "socket", Probe)
    Path("demo").mkdir()
    for Probe.there, name in ((True, "10.1.2.3"), (False, socket.gethostname())):
        assert demo.serving(Path("demo/index.html")).endswith(f"open http://{name}:8000/")


def test_a_notebook_shows_the_page_in_a_frame_that_cannot_reach_it(folder, monkeypatch):
    monkeypatch.setattr(webbrowser, "open", None)  # which would fail
    monkeypatch.setenv("DISPLAY", ":0")
    shown = ladder.demo(make_run(folder / '"&quot;<iframe>'))
    frames = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: frames.append((tag, dict(attributes)))
    parser.feed(shown._repr_html_())
    ((tag, attributes),) = frames
    assert (tag, attributes["sandbox"]) == ("iframe", "allow-scripts allow-downloads")
    assert attributes["srcdoc"] == shown.path.read_text("utf-8")


@pytest.mark.slow
def test_small_models_are_trained_if_there_are_none(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for _, options in demo.SMALL_RUNS.values():
        monkeypatch.setitem(options, "trainer.max_steps", 2)
    run("demo", "--open=false")
    assert capsys.readouterr().out.count("training a small one first") == 2
    monkeypatch.setattr(lightning_run, "run_as_function", None)
    size = Path("demo/index.html").stat().st_size
    run("demo", "--open=false")
    assert Path("demo/index.html").stat().st_size == pytest.approx(size, rel=0.01)
