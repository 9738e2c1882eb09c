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
from commands.fit import lightning_run
from datamodules.gates import GATES
from datamodules.input_spec import InputSpec
from models import (
    GAN,
    ConditionalGAN,
    Flow,
    GateMLP,
    ImageClassifier,
    PlaneVelocity,
    ResidualConvNet,
)
from pages import demo
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


def test_generators_begin_with_the_best(tmp_path, monkeypatch):
    scores = {"unscored": [], "good": [0.5, 0.1], "nan": ["nan"], "fair": [0.2], "damaged": ["x"]}
    for age, (name, values) in enumerate(scores.items()):
        run = tmp_path / name / "version_0"
        (run / "checkpoints").mkdir(parents=True)
        (run / "checkpoints/last.ckpt").touch()
        os.utime(run / "checkpoints/last.ckpt", (1000 - age, 1000 - age))
        rows = "".join(f"{step},{value}\n" for step, value in enumerate(values))
        (run / "metrics.csv").write_text("step,val/frechet\n" + rows)
    monkeypatch.setattr(Run, "model", lambda run: small(GAN))
    found = demo.load_models([tmp_path])["generator"]
    assert [name.split("/")[0] for name in found] == ["good", "fair", "unscored", "nan", "damaged"]


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
    assert demo.kind_of(GateMLP()) == demo.kind_of(demo.or_gate()) == "gate"
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
    model: Any = demo.train_small_model("gate")
    assert demo.gate_of(model) == "xor"
    monkeypatch.setattr(lightning_run, "train", None)
    assert demo.weights_of(demo.train_small_model("gate")) == demo.weights_of(model)


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
    """MNIST: scaled to a 20 x 20 box, and placed in 28 x 28 by its centre of mass."""
    answer, seen = demo.classify_drawing({"a": classifier}, "a", drawing(*points))
    pixels = np.asarray(seen)[::10, ::10]
    assert pixels.shape == (28, 28)
    rows, columns = (np.flatnonzero(pixels.max(axis) > 0) for axis in (1, 0))
    assert abs(max(np.ptp(rows), np.ptp(columns)) + 1 - 20) <= 1
    centre = [(pixels.sum(axis) @ (np.arange(28) + 0.5)) / pixels.sum() for axis in (1, 0)]
    assert centre == pytest.approx([14, 14], abs=0.51)  # to a pixel
    images = torch.from_numpy(pixels.copy())[None, None] / 255
    assert [*answer] == [*map(str, range(10))]
    assert [*answer.values()] == pytest.approx(classifier.probabilities(images)[0].tolist())


@pytest.mark.parametrize("value", [None, {"layers": []}, drawing()])
def test_no_ink_has_no_answer(value, classifier):
    assert demo.classify_drawing({"a": classifier}, "a", value) == (None, None)


def test_an_image_is_the_one_that_sample_draws(monkeypatch):
    gan = small(ConditionalGAN).eval()
    monkeypatch.setattr(building, "choose_precision", lambda device: ("32-true", ""))
    image, text = demo.steer({"a": gan}, "a", 7, 3, 0.0, 5)
    scale = image.width // SHAPE[2]
    expected = ladder.sample_images(gan, 1, [7], seed=5).images[0]
    assert np.array_equal(np.asarray(image)[::scale, ::scale], expected)
    other, _ = demo.steer({"a": gan}, "a", 7, 3, 1.0, 5)
    expected = ladder.sample_images(gan, 1, [3], seed=5).images[0]
    assert np.array_equal(np.asarray(other)[::scale, ::scale], expected)
    assert 0 < float(text.removeprefix("### P(real) = ")) < 1


def test_a_generator_without_classes_needs_none():
    image, _ = demo.steer({"a": small(GAN).eval()}, "a", None, None, 0.0, 0)
    assert isinstance(image, Image.Image)


@pytest.mark.parametrize("gate", GATES)
def test_weights_by_hand_compute_the_gate(gate):
    k = {"or": -5.0, "and": -15.0}
    weights = [10.0, 10.0, k[gate]] if gate in k else None
    model = demo.or_gate() if weights else GateMLP.by_hand(gate, 5.0)
    _, text = demo.plot_gate({"a": model}, "a", gate, *(weights or demo.weights_of(model)), 0.0)
    assert text.startswith("### 4 of 4 right")
    assert demo.weights_of(demo.or_gate()) == [10.0, 10.0, -5.0]


def test_one_unit_computes_no_xor():
    _, text = demo.plot_gate({"a": demo.or_gate()}, "a", "xor", 10.0, 10.0, -5.0)
    assert text.startswith("### 3 of 4 right")
    rows = demo.truth_table(demo.or_gate(), "xor")
    assert [row[:4] for row in rows] == [(0, 0, 0, 0), (0, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1)]


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
        page = demo.build_page({"classifier": {"a": network.eval()}, "generator": {}, "gate": {}})
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
