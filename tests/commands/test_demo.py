"""`demo` finds models, classifies drawings, steers generators and draws gates."""

import json
import os
import socket
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import ladder
from commands import demo
from commands.fit import lightning_run
from datamodules.gates import GATES
from datamodules.input_spec import InputSpec
from models import (
    GAN,
    ConditionalGAN,
    Flow,
    GateLogistic,
    GateMLP,
    ImageClassifier,
    PlaneVelocity,
    ResidualConvNet,
)
from results import Run, building
from runtime.errors import UserError
from tests.models.gans import SHAPE, small
from tests.test_cli import fails, run

MNIST = InputSpec((1, 28, 28), 255.0, background=0.0, extent=20 / 28, centre=(0.5, 0.5))


@pytest.fixture
def runs(tmp_path, in_root):
    """A run of a gate, a damaged run, and one of another program."""
    options = f"--trainer.default_root_dir={tmp_path}", "--trainer.max_steps=2"
    run("fit", "--config=configs/gates.yaml", *options)
    for name in ("damaged", "foreign"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
        (tmp_path / name / "metrics.csv").touch()
    (tmp_path / "damaged/checkpoints/last.ckpt").write_text("no checkpoint")
    torch.save({"hyper_parameters": {"_class_path": "evil.Model"}, "state_dict": {},
                "global_step": 1, "epoch": 0, "pytorch-lightning_version": "2.6.6"},
               tmp_path / "foreign/checkpoints/last.ckpt")  # fmt: skip
    return tmp_path


def test_runs_are_found_by_kind_and_others_left_out_with_a_reason(runs, capsys):
    (runs / "damaged").rename(runs / "damaged\x1b[2J")
    capsys.readouterr()
    found = demo.load_models([runs])
    assert {kind: [*models] for kind, models in found.items()} == {
        "classifier": [], "generator": [], "gate": ["gates"],
    }  # fmt: skip
    lines = sorted(capsys.readouterr().out.splitlines())
    assert len(lines) == 2
    assert lines[0].startswith(f"{runs}/damaged\\x1b[2J is left out: ")
    assert lines[1].startswith(f"{runs / 'foreign'} is left out: ")
    assert "evil.Model" in lines[1]


@pytest.mark.parametrize(
    ("kind", "model", "quantity", "good", "fair"),
    [("generator", small(GAN), "val/frechet", [0.5, 0.1], [0.0, 0.2]),
     ("classifier", ImageClassifier((1, 28, 28), 10), "val/accuracy", [0.5, 0.9], [1.0, 0.8])],
)  # fmt: skip
def test_the_model_of_the_best_last_score_comes_first(
    kind, model, quantity, good, fair, tmp_path, monkeypatch
):
    scores = {"unscored": [], "good": good, "nan": ["nan"], "fair": fair, "damaged": ["x"]}
    for age, (name, values) in enumerate(scores.items()):
        run = tmp_path / name / "version_0"
        (run / "checkpoints").mkdir(parents=True)
        (run / "checkpoints/last.ckpt").touch()
        os.utime(run / "checkpoints/last.ckpt", (1000 - age, 1000 - age))
        rows = "".join(f"{step},{value}\n" for step, value in enumerate(values))
        (run / "metrics.csv").write_text(f"step,{quantity}\n" + rows)
    monkeypatch.setattr(Run, "model", lambda run: model)
    found = demo.load_models([tmp_path])[kind]
    assert [name.split("/")[0] for name in found] == ["good", "fair", "unscored", "nan", "damaged"]


@pytest.mark.parametrize("stage", ["val", "test"])
def test_the_page_says_which_run_it_is(stage, runs):
    scores = {stage: {"scores": {"loss": 0.1, "accuracy": 0.75}}}
    (runs / "gates/version_0/metrics.json").write_text(json.dumps(scores))
    (runs / "gates/version_0/metrics.csv").unlink()
    (runs / "gates").rename(runs / "<b>")
    note = demo.note_of("gate", demo.load_models([runs / "<b>"])["gate"])
    assert f"{runs}/&lt;b&gt;/version_0, step 2, 0 minutes old, {stage} accuracy 0.75" in note


@pytest.mark.parametrize("kind", ["classifier", "generator"])
def test_the_page_says_what_to_train(kind, capsys):
    command = demo.note_of(kind, {}).split("python cli.py ")[1].removesuffix("</code>")
    with pytest.raises(SystemExit, match="0"):
        run(*command.split(), "--print_config")
    assert "dataset: digits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "model", "names", "hint"),
    [("classifier", ImageClassifier((1, 28, 28), 10), None, "draw a 7"),
     ("classifier", ImageClassifier((1, 28, 28), 2), ("cat", "dog"), "such as cat, dog."),
     ("generator", small(ConditionalGAN), None, "two classes"),
     ("generator", small(GAN), None, "move the seed")],
)  # fmt: skip
def test_a_hint_fits_its_model(kind, model, names, hint):
    model.input_spec = InputSpec((1, 28, 28), 255.0, class_names=names)
    assert hint in demo.hint_of(kind, model)


def test_runs_of_the_same_name_are_all_found(tmp_path, monkeypatch):
    for sweep in ("gan-sweep", "cgan-sweep", "old/gan-sweep"):
        folder = tmp_path / sweep / "seed_0" / "version_0" / "checkpoints"
        folder.mkdir(parents=True)
        (folder / "last.ckpt").touch()
        (folder.parent / "metrics.csv").touch()
    monkeypatch.setattr(Run, "model", lambda run: small(GAN))
    names = {f"{sweep}/seed_0" for sweep in ("gan-sweep", "cgan-sweep", "old/gan-sweep")}
    assert {*demo.load_models([tmp_path])["generator"]} == names


def test_each_kind_of_model_has_its_tab():
    assert demo.kind_of(small(GAN)) == "generator"
    assert demo.kind_of(ImageClassifier((1, 28, 28), 10)) == "classifier"
    assert demo.kind_of(GateMLP()) == demo.kind_of(GateLogistic()) == "gate"
    assert demo.kind_of(torch.nn.Linear(2, 2)) == ""
    assert demo.kind_of(Flow((2,), network=PlaneVelocity)) == ""  # of points


def test_a_mistake_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "find_spec", lambda name: True)
    line = fails(capsys, "demo", f"--runs={tmp_path / 'none'}")
    assert line.startswith(f"error: --runs {tmp_path / 'none'}: there is no such folder")
    assert "--port: expected a number >=1 and <=65535" in fails(capsys, "demo", "--port=99999")
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'needs Gradio: pip install -e "\.\[demo\]"'):
        demo.demo([tmp_path])


def test_a_small_model_is_trained_once(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "RUNS", tmp_path)
    folder = demo.train_small_model("gate")
    ((name, (model, _)),) = demo.load_models([folder])["gate"].items()
    assert (name, demo.gate_of(model)) == ("demo-gate", "xor")
    monkeypatch.setattr(lightning_run, "run_as_function", None)
    assert demo.train_small_model("gate") == folder


def drawing(*points: tuple[int, int]) -> dict[str, Any]:
    """Returns the canvas's value for a line through these places (x, y)."""
    page = Image.new("L", (demo.CANVAS, demo.CANVAS))
    ImageDraw.Draw(page).line(points, fill=255, width=24)
    layer = np.zeros((demo.CANVAS, demo.CANVAS, 4), np.uint8)
    layer[:, :, 3] = np.asarray(page)
    return {"background": None, "layers": [layer], "composite": None}


@pytest.fixture
def classifier():
    model = ImageClassifier((1, 28, 28), 10, network=lambda s, n: ResidualConvNet(s, n, 2)).eval()
    model.input_spec = MNIST
    return model


@pytest.mark.parametrize("points", [[(20, 20), (60, 100)], [(5, 140), (275, 140)]])
def test_a_drawing_is_framed_as_mnist(points, classifier):
    """MNIST: scaled to a 20 x 20 box, and placed in 28 x 28 by its center of mass."""
    answer, seen = demo.classify_drawing({"a": (classifier, None)}, "a", drawing(*points))
    pixels = np.asarray(seen)[::10, ::10]
    assert pixels.shape == (28, 28)
    rows, columns = (np.flatnonzero(pixels.max(axis) > 0) for axis in (1, 0))
    assert abs(max(np.ptp(rows), np.ptp(columns)) + 1 - 20) <= 1
    center = [(pixels.sum(axis) @ (np.arange(28) + 0.5)) / pixels.sum() for axis in (1, 0)]
    assert center == pytest.approx([14, 14], abs=0.51)  # to a pixel
    images = torch.from_numpy(pixels.copy())[None, None] / 255
    assert [*answer] == [*map(str, range(10))]
    assert [*answer.values()] == pytest.approx(classifier.probabilities(images)[0].tolist())


@pytest.mark.parametrize("value", [None, {"layers": []}, drawing()])
def test_no_ink_has_no_answer(value, classifier):
    assert demo.classify_drawing({"a": (classifier, None)}, "a", value) == (None, None)


def test_an_image_is_the_one_that_sample_draws(monkeypatch):
    gan = small(ConditionalGAN).eval()
    monkeypatch.setattr(building, "choose_precision", lambda device: ("32-true", ""))
    image, text = demo.steer({"a": (gan, None)}, "a", 7, 3, 0.0, 5)
    scale = image.width // SHAPE[2]
    expected = ladder.sample_images(gan, 1, [7], seed=5).images[0]
    assert np.array_equal(np.asarray(image)[::scale, ::scale], expected)
    other, _ = demo.steer({"a": (gan, None)}, "a", 7, 3, 1.0, 5)
    expected = ladder.sample_images(gan, 1, [3], seed=5).images[0]
    assert np.array_equal(np.asarray(other)[::scale, ::scale], expected)
    assert 0 < float(text.removeprefix("### P(real) = ")) < 1


def test_a_generator_without_classes_needs_none():
    image, _ = demo.steer({"a": (small(GAN).eval(), None)}, "a", None, None, 0.0, 0)
    assert isinstance(image, Image.Image)


@pytest.mark.parametrize("gate", GATES)
def test_gates_start_unsolved(gate):
    models = demo.gates_to_move()
    assert [demo.gate_of(model) for model, _ in models.values()] == ["or", "xor"]
    assert all(demo.truth_table(model, gate)[0] < 4 for model, _ in models.values())


@pytest.mark.parametrize(
    ("name", "gate", "weights"),
    [("one unit", "or", (10, 10, -5)), ("one unit", "and", (10, 10, -15)),
     ("two units", "xor", (10, 10, -15)), ("two units", "xnor", (-10, -10, 15))],
)  # fmt: skip
def test_the_last_weights_solve_a_gate(name, gate, weights):
    models, hidden = demo.gates_to_move(), demo.STARTS[name][0][:-3]
    _, text = demo.plot_gate(models, name, gate, *hidden, *weights, *([0] * 6))
    assert text.startswith("### 4 of 4 right, mean loss 0.0")
    assert "Solved" in text


@pytest.mark.parametrize(
    ("name", "gate", "hint"),
    [("one unit", "or", "Wrong at x₁ = 0, x₂ = 1: w₂ + b has to be above 0."),
     ("one unit", "and", "Wrong at x₁ = 1, x₂ = 0: w₁ + b has to be below 0."),
     ("one unit", "xnor", "One unit cannot"),
     ("two units", "xor", "Wrong at x₁ = 0, x₂ = 0: w₁ h₁ + w₂ h₂ + b has to be below 0.")],
)  # fmt: skip
def test_a_hint_of_a_gate_fits_its_weights(name, gate, hint):
    assert hint in demo.truth_table(demo.gates_to_move()[name][0], gate)[1]


def test_rows_of_a_gate_show_their_losses():
    """With w = (2, 0) and b = -1, the logit is -1 or 1: losses log(1 + e) = 1.31 and 0.31."""
    count, text = demo.truth_table(demo.gates_to_move()["one unit"][0], "or")
    assert (count, text.splitlines()[0]) == (3, "### 3 of 4 right, mean loss 0.56")
    rows = ["0|0|0|27 %|0.31", "0|1|1|27 % ✗|1.31", "1|0|1|73 %|0.31", "1|1|1|73 %|0.31"]
    assert text.splitlines()[-4:] == rows


# -- the server -----------------------------------------------------------------------------------

extras = pytest.mark.extras  # imports Gradio
UPLOAD = "POST /gradio_api/upload"


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """The port of a page that is served as `demo` serves it."""
    gradio = pytest.importorskip("gradio", reason="needs Gradio: make test-extras")
    with socket.socket() as free:
        free.bind((demo.HOST, 0))
        port = free.getsockname()[1]
    network = ImageClassifier((1, 28, 28), 10, network=lambda s, n: ResidualConvNet(s, n, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        patch.setattr(gradio.Blocks, "block_thread", lambda page: None)
        patch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
        patch.setattr(Run, "describe", lambda run: "a run")
        models = {"a": (network.eval(), Run(Path("a")))}
        page = demo.build_page({"classifier": models, "generator": {}, "gate": {}})
        demo.serve(page, port)
        yield port
        page.close()


def ask(port: int, request: str, body: bytes = b"", **headers: Any) -> tuple[int, bytes]:
    """Sends a request as it is, without what a client corrects, and returns status and answer."""
    headers = {"Host": f"{demo.HOST}:{port}", "Connection": "close", **headers}
    lines = [f"{request} HTTP/1.1", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    with socket.create_connection((demo.HOST, port), timeout=20) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    return int(answer.split()[1]), answer


def upload(port: int, content: bytes, **headers: Any) -> tuple[int, bytes]:
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    body += content + b"\r\n--x--\r\n"
    form = {"Content_Type": "multipart/form-data; boundary=x", "Content_Length": len(body)}
    return ask(port, UPLOAD, body, **form, **headers)


@extras
def test_sliders_take_large_weights_and_show_two_digits():
    gradio = pytest.importorskip("gradio", reason="needs Gradio: make test-extras")
    trained = demo.with_weights(GateLogistic(), [30.1234, 0, 0])
    with gradio.Blocks() as page:
        demo.add_gates(page, {"a": (trained, None)})
    sliders = [part for part in page.blocks.values() if isinstance(part, gradio.Slider)]
    assert [slider.preprocess(30.1234) for slider in sliders] == [30.12] * 9


@extras
@pytest.mark.parametrize(
    ("host", "status"),
    [("{}:{}", 200), ("localhost:{1}", 200), ("evil.com", 400), ("{}.evil.com:{}", 400), ("", 400)],
)
def test_only_this_machines_names_reach_the_page(host, status, port):
    assert ask(port, "GET /config", Host=host.format(demo.HOST, port))[0] == status
    with pytest.raises(OSError, match="refused|timed out|assign"):
        socket.create_connection(("127.0.0.2", port), timeout=2)  # as from another machine


@extras
@pytest.mark.parametrize("root", ["/gradio_api/file=", "/gradio_api/file/", "/file=", "/static/"])
@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd", "../../../../../../../../etc/passwd", "..%2f..%2f..%2f..%2fetc%2fpasswd",
        "%2fetc%2fpasswd", "%252fetc%252fpasswd", "..%5c..%5cetc%5cpasswd", "file:///etc/passwd",
        f"{Path(__file__)}", "http://{}:{}/config", "http://169.254.169.254/latest",
    ],
)  # fmt: skip
def test_no_file_of_the_machine_is_served(root, path, port):
    status, answer = ask(port, f"GET {root}{path.format(demo.HOST, port)}")
    assert status in (403, 404)
    assert b"root:" not in answer


@extras
@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://{}:{}", 200), ("http://localhost:{1}", 200), ("http://evil.com", 403),
     ("null", 403), ("http://localhost:1", 403), ("https://{}:{}", 403)],
)  # fmt: skip
def test_pages_of_other_sites_are_refused(origin, status, port):
    own = origin.format(demo.HOST, port)
    assert upload(port, b"x", Origin=own)[0] == status
    assert ask(port, "GET /config", Origin=own)[0] == status


@extras
@pytest.mark.parametrize(
    "size", [{"Content_Length": 5_000_000}, {"Transfer_Encoding": "chunked"}], ids=str
)
@pytest.mark.parametrize("path", [UPLOAD, "POST /gradio_api/queue/join"])
def test_large_requests_are_refused_before_they_are_read(path, size, port):
    kind = "application/json" if "join" in path else "multipart/form-data; boundary=x"
    assert ask(port, path, Content_Type=kind, **size)[0] == 413


@extras
@pytest.mark.parametrize(("side", "taken"), [(demo.CANVAS, True), (3000, False)])
def test_large_pictures_are_refused_before_they_are_decoded(side, taken, port):
    assert upload(port, b"x" * 1_100_000)[0] == 413
    file = BytesIO()
    Image.new("1", (side, side)).save(file, "PNG")  # of a few kB
    (path,) = json.loads(upload(port, file.getvalue())[1].split(b"\r\n\r\n")[1])
    canvas = {"background": {"path": path, "meta": {"_type": "gradio.FileData"}}, "layers": []}
    event = {"data": ["a", canvas], "fn_index": 0, "session_hash": str(side)}
    body, kind = json.dumps(event).encode(), "application/json"
    ask(port, "POST /gradio_api/queue/join", body, Content_Type=kind, Content_Length=len(body))
    _, answer = ask(port, f"GET /gradio_api/queue/data?session_hash={side}")
    assert (b'"success":true' in answer) is taken
