"""A run as data for the page: its recorded program, rounded weights, real images and verdicts."""

import base64
import json
import zlib
from functools import partial

import pytest
import torch
from torch import nn

from datamodules import Split
from models import ImageClassifier
from models.gan.networks import ModernGenerator
from models.networks import FeedForward
from models.plane import PlaneGenerator, PlaneTrunk
from pages import trained
from pages.trained import Program, check, describe, encode, run_data
from runtime.errors import UserError
from tests.models.gans import SHAPE, small
from tests.models.own_autoencoder import Autoencoder
from tests.pages.runs import MODELS, Same, contrasting, run_of


def unpacked(text):
    return zlib.decompress(base64.b64decode(text))


@pytest.mark.parametrize("kind", MODELS)
@torch.no_grad()
def test_a_program_computes_what_its_model_does(kind):
    model = contrasting(MODELS[kind]())
    about, function, trials = describe(model, run_of(model))
    program = Program(function, *(part[:1] for part in trials))
    json.loads(program.as_json())  # the page has all operators
    _, rounded = encode(program.weights, 0)
    given = [part[3:4] for part in trials]
    wanted = function(*given)
    assert wanted.std() > 0.05
    found = program(*given, weights=program.weights)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    check(partial(program, weights=rounded), function, trials)
    assert about["about"] == f"{type(model).__name__}, accuracy 0.9877 [0.981, 0.992] (val)"


def test_what_depends_on_no_input_becomes_a_weight():
    half = nn.Linear(2, 1)

    def function(x):
        return (
            (half.weight.exp() * 2 + torch.arange(2)) * x
            + torch.zeros_like(x)
            + (half.weight - half.weight)
        )

    program = Program(function, torch.ones(1, 2))
    assert [step[0] for step in json.loads(program.as_json())["steps"]] == ["mul", "add", "add"]
    assert [weight.shape for weight in program.weights] == [(1, 2)] * 2  # equal ones once
    twice = Program(lambda x: x.clone().relu_() + x, torch.ones(1, 2))
    found = twice(torch.tensor([[-1.0, 3.0]]), weights=[])
    assert found.tolist() == [[-1.0, 6.0]]


def test_a_run_without_room_has_8_bits_or_fewer_in_large_matrices(monkeypatch):
    model = contrasting(small(generator=partial(ModernGenerator, width=64)))
    monkeypatch.setattr(trained, "TRIALS", 2)
    full = run_data(run_of(model), real=False)
    limit = len(json.dumps(full)) // 2
    monkeypatch.setattr(trained, "RUN_BYTES", limit)
    data = run_data(run_of(model), real=False)
    assert len(json.dumps(data)) <= limit
    kinds = [tensor["kind"] for tensor in data["tensors"]]
    assert kinds.count("int8") == 1
    assert {"float16"} < {*kinds} - {"int8"} == {tensor["kind"] for tensor in full["tensors"]}
    monkeypatch.setattr(trained, "RUN_BYTES", 1000)
    with pytest.raises(UserError, match="0.3 million weights do not fit .*--format onnx"):
        run_data(run_of(model), real=False)


def test_rounded_weights_are_those_in_the_file():
    weights = [torch.randn(300, 300), torch.randn(3, 2, 1), torch.randn(5), torch.full((1, 1), 9e4)]
    for fineness, kind in ((0, "float16"), (32, "int8")):
        about, rounded = encode(weights, fineness)
        kinds = [tensor["kind"] for tensor in about["tensors"]]
        assert kinds == [kind, "float16", "float32", "float32"]
        assert torch.equal(rounded[2], weights[2])
        assert 0 < (rounded[0] - weights[0]).abs().max() < (0.02 if fineness else 0.002)
        starts = [tensor["at"] for tensor in about["tensors"]]
        assert [start % 4 for start in starts] == [0] * 4
        assert len(unpacked(about["weights"])) == starts[-1] + 4


def gan_of(*layers):
    return small(generator=lambda dim, shape: nn.Sequential(
        nn.Linear(dim, 784), *layers, nn.Unflatten(1, shape)))  # fmt: skip


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (lambda: gan_of(Same(lambda x: x.cumsum(1))), "a page lacks cumsum of torch"),
        (lambda: gan_of(Same(lambda x: x * float(x[0, 0]))), "a page lacks _local_scalar_dense"),
        (lambda: gan_of(Same(lambda x: x.squeeze())), "a page cannot run this network .Dim"),
        (lambda: small(image_shape=(2,), generator=PlaneGenerator, trunk=PlaneTrunk),
         "a page shows models of images, and this GAN is none"),
    ],
)  # fmt: skip
def test_what_a_page_cannot_compute_is_refused_in_one_line(model, problem):
    with pytest.raises(UserError, match=f"^{problem}.*--format onnx$"):
        run_data(run_of(contrasting(model())), real=False)


def test_an_error_of_the_project_is_not_blamed_on_the_network(monkeypatch):
    monkeypatch.setattr(trained, "class_names", lambda *_: [].index(1))
    with pytest.raises(ValueError, match="not in list"):
        run_data(run_of(contrasting(MODELS["dense"]())), real=False)


def test_a_model_in_a_file_outside_the_project_is_shown():
    assert run_data(run_of(contrasting(Autoencoder(SHAPE))), real=False)["latent_dim"] == 8


def test_a_network_that_takes_too_long_is_refused(monkeypatch):
    monkeypatch.setattr(trained, "MOST_WORK", 1e4)
    with pytest.raises(
        UserError, match=r"^one image takes .* multiplications, .* smaller network,"
    ):
        run_data(run_of(contrasting(MODELS["flow"]())), real=False)


def test_a_program_that_computes_something_else_is_refused(monkeypatch):
    def flipped(weights, fineness):
        return encode([weight.flip(0) for weight in weights], fineness)

    monkeypatch.setattr(trained, "encode", flipped)
    with pytest.raises(UserError, match=r"^a result differs from PyTorch's by \d.*--format onnx$"):
        run_data(run_of(contrasting(MODELS["own"]())), real=False)


def test_a_generator_comes_with_real_images_and_verdicts(capsys):
    data = run_data(run_of(contrasting(MODELS["conditional"]())))
    assert capsys.readouterr().out == (
        "a run: 25 real images are in the page (--real false leaves them out)\n"
    )
    quiz = data["quiz"]
    assert [len({*quiz[part]}) for part in ("real", "generated")] == [25, 25]
    assert len(unpacked(data["pictures"])) == 50 * 784
    assert [verdict["name"] for verdict in quiz["verdicts"]] == ["D", "judge"]
    assert {len(verdict["says"]) for verdict in quiz["verdicts"]} == {50}
    assert sum(quiz["verdicts"][1]["says"][:25]) > 23  # the judge is sure of real digits
    without = run_data(run_of(contrasting(MODELS["conditional"]())), real=False)
    assert {*data} - {*without} == {"quiz"}
    assert unpacked(without["pictures"]) == b""
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("judge", ["runs/gone", {"class_path": "evil.X"}])
def test_a_run_whose_judge_has_gone_has_no_real_images(judge, capsys):
    run = run_of(contrasting(MODELS["drift"]()), quality={"judge": judge})
    assert "quiz" not in run_data(run)
    assert "a run: the page has no real images, because quality.judge:" in capsys.readouterr().out


def test_a_config_without_sense_gives_the_judge_of_the_data():
    data = run_data(run_of(contrasting(MODELS["drift"]()), quality="evil.X"))
    assert [verdict["name"] for verdict in data["quiz"]["verdicts"]] == ["judge"]


def test_mistakes_and_liked_images_of_a_classifier_are_found():
    class Rows(nn.Module):
        """Two features: the mean of the upper half, and of the lower half."""

        def __init__(self):
            super().__init__()
            self.last = nn.Linear(2, 10)
            self.last.weight.data.zero_()[3, 0] = 50.0  # class 3 if the upper half is bright
            self.last.weight.data[7, 1] = 50.0

        def forward(self, images):
            return self.last(images.unflatten(2, (2, 14)).mean(dim=(1, 3, 4)))

    model = ImageClassifier(SHAPE, 10, lambda shape, outputs: Rows()).eval()
    run = run_of(model)
    data, pixels = run_data(run), None
    split = run.data().examples("val", 2000)
    assert data["asked"] == len(split.targets)
    pixels = torch.frombuffer(bytearray(unpacked(data["pictures"])), dtype=torch.uint8)
    pixels = pixels.view(-1, 28, 28).float()
    shares = [share for *_, share in data["mistakes"]]
    assert len(shares) == 24
    assert shares == sorted(shares, reverse=True)
    for picture, truth, answer, _ in data["mistakes"]:
        image = pixels[picture]
        assert truth != answer == (3 if image[:14].sum() > image[14:].sum() else 7)
    assert [(unit["unit"], unit["toward"]) for unit in data["units"]] == [(0, 3), (1, 7)]
    means = split.inputs.float().view(-1, 2, 14 * 28).mean(dim=2)
    for unit in data["units"]:
        liked = pixels[unit["pictures"]].view(-1, 2, 14 * 28).mean(dim=2)[:, unit["unit"]]
        torch.testing.assert_close(liked, means[:, unit["unit"]].topk(6).values)


def test_a_classifier_of_little_data_is_shown(capsys):
    model = contrasting(ImageClassifier(SHAPE, 10, partial(FeedForward, hidden=0)))
    assert run_data(run_of(model, "mine"))["classes"] == [f"class {k}" for k in range(10)]
    assert capsys.readouterr().out.startswith("mine: ")


def test_image_files_are_read_when_a_page_shows_them(monkeypatch):
    class Stored:
        dtype = torch.uint8

        def to(self, device):
            return images.to(device)

    run = run_of(contrasting(MODELS["drift"]()))
    data = run.data()
    images, labels = data.examples("val", 30)
    run.data = lambda: data
    monkeypatch.setattr(data, "examples", lambda *_: Split(Stored(), labels))
    content = unpacked(run_data(run)["pictures"])
    assert content[: 25 * 784] == images[:25].numpy().tobytes()
