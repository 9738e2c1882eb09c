"""`export --format html` writes a page whose steps compute what PyTorch does."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from datamodules.input_spec import InputSpec
from models import GAN, ConditionalGAN, Drift, Flow, SelfConditionedGAN, VariationalAutoencoder
from models.gan.networks import ModernGenerator
from models.plane import PlaneGenerator, PlaneTrunk
from models.training import EMAOptions
from pages import export_html
from pages.export_html import compute, examples, read_page, save_page
from runtime.errors import UserError
from tests.commands.test_export import NAMES
from tests.models.gans import DROPOUT, LECTURE, SHAPE, small
from tests.models.own_autoencoder import Autoencoder
from tests.test_cli import fails, run

HIDDEN = partial(ModernGenerator, width=2, hidden=[6, 5], skip=True, transposed=True)
DETAIL = partial(ModernGenerator, width=2, detail=3)


def own(input_dim: int, shape: tuple[int, ...]) -> nn.Module:
    """A generator of layers that the project's own do not use, for 8 x 8 images."""
    return nn.Sequential(
        nn.Linear(input_dim, 3 * 7 * 5), nn.SiLU(), nn.Dropout(0.5), nn.Unflatten(1, (3, 7, 5)),
        nn.BatchNorm2d(3, affine=False), nn.LeakyReLU(0.3), nn.Conv2d(3, 4, (3, 2), (2, 1), (1, 0)),
        nn.ConvTranspose2d(4, 1, 3, stride=2, padding=1, output_padding=(1, 1), bias=False),
        nn.Flatten(), nn.BatchNorm1d(64), nn.Tanh(), nn.Unflatten(1, shape),
    )  # fmt: skip


MODELS: dict[str, Any] = {
    "colors": partial(small, GAN, image_shape=(3, 16, 20), average=EMAOptions(0.9)),
    "conditional": partial(small, ConditionalGAN, generator=HIDDEN),
    "detail": partial(small, ConditionalGAN, generator=DETAIL),
    "clusters": partial(small, SelfConditionedGAN, clusters=3, latent="uniform"),
    "lecture": partial(small, **LECTURE | DROPOUT, latent="uniform"),
    "drift": partial(Drift, SHAPE, 10, generator=HIDDEN, latent_dim=9),
    "vae": partial(VariationalAutoencoder, SHAPE, 10, decoder=HIDDEN, average=EMAOptions(0.9)),
    "own": partial(small, generator=own, image_shape=(1, 8, 8), trunk=lambda shape: nn.Flatten()),
}


@pytest.fixture
def page(tmp_path):
    return tmp_path / "generator.html"


@torch.no_grad()
def contrasting(model: Any) -> Any:
    """Draws weights and batch statistics, so that images have all shades."""
    for tensor in model.eval().eval_network.state_dict().values():
        if tensor.dim() > 1:
            tensor.copy_(2 * torch.randn_like(tensor) / tensor[0].numel() ** 0.5)
        elif tensor.is_floating_point():
            tensor += 0.3 * torch.rand_like(tensor)
    model.input_spec = InputSpec(model.image_shape, 255.0, NAMES[: model.num_classes or 0] or None)
    return model


@torch.no_grad()
def difference(model: Any, page: Path) -> float:
    """Of images that the page's steps draw from latents that the export did not try."""
    latents, labels = model.draw_latents(40, torch.Generator().manual_seed(1))
    found = compute(*read_page(page.read_bytes()), latents, labels)
    wanted = model(latents, labels).clamp(0, 1)
    assert found.shape == wanted.shape
    assert wanted.std() > 0.1
    return float((found - wanted).abs().max())


@pytest.mark.parametrize("kind", MODELS)
def test_the_steps_of_a_page_draw_what_pytorch_draws(kind, page, monkeypatch):
    torch.manual_seed(0)
    model = contrasting(MODELS[kind]())
    if kind == "lecture":  # its 6.7 million weights make 18 MB
        monkeypatch.setattr(export_html, "PAGE_BYTES", 2e7)
    assert save_page(model, "a run", page) < 1e-2
    assert difference(model, page) < 1e-2
    assert page.stat().st_size < export_html.PAGE_BYTES


def test_a_page_without_room_has_8_bits_or_fewer_in_large_matrices(page, monkeypatch):
    model = contrasting(small(ConditionalGAN, generator=partial(ModernGenerator, width=64)))
    save_page(model, "a run", page)
    monkeypatch.setattr(export_html, "PAGE_BYTES", limit := page.stat().st_size * 0.5)
    save_page(model, "a run", page)
    assert page.stat().st_size < limit
    assert 3e-4 < difference(model, page) < 5e-2
    text = page.read_text()
    places = [step["tensors"].get("weight", {}) for step in model_of(text)["steps"]]
    assert sum(place.get("scaled", False) for place in places) == 2


def model_of(text: str) -> Any:
    """What a browser reads: all up to the end of the first script."""
    return json.loads(text.split('<script id="model" type="application/json">')[1].split("</")[0])


def test_names_cannot_leave_their_places(page):
    names = "</script><script>alert(1)</script>", "%title%", "\u2028<!--"
    model = contrasting(small(ConditionalGAN, num_classes=3))
    model.input_spec = InputSpec(SHAPE, 255.0, names)
    save_page(model, "<b>%model%</b>", page)
    text = page.read_text()
    assert model_of(text)["classes"] == [*names]
    assert text.count("&lt;b&gt;%model%&lt;/b&gt;") == 2
    assert len(re.findall("<script", text)) == 2


def test_a_page_loads_nothing(page):
    save_page(contrasting(small()), "a run", page)
    text = page.read_text()
    assert "default-src 'none'" in text
    assert not re.findall(r"https?:|\bsrc=|\bhref=|url\(|@import|import\(|fetch\(", text)


def flow() -> Any:
    return Flow(SHAPE, 10)


def plane() -> Any:
    return small(image_shape=(2,), generator=PlaneGenerator, trunk=PlaneTrunk)


def gelu(input_dim: int, shape: tuple[int, ...]) -> nn.Module:
    return nn.Sequential(nn.Linear(input_dim, 784), nn.GELU(), nn.Unflatten(1, shape))


def grouped(input_dim: int, shape: tuple[int, ...]) -> nn.Module:
    layers = nn.Unflatten(1, shape), nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect")
    return nn.Sequential(nn.Linear(input_dim, 784), *layers)


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (flow, "a page draws at once, and Flow in 10 steps"),
        (plane, "a page draws images, and this GAN points in the plane"),
        (partial(small, generator=gelu), r"a page has no layer like GELU"),
        (partial(small, generator=grouped), r"no layer like Conv2d\(.*reflect\)"),
        (partial(Autoencoder, SHAPE), "a page has no layer like Autoencoder"),
        (partial(small, **LECTURE | DROPOUT), r"6\.\d million weights do not fit into 3 MB"),
    ],
)
def test_what_a_page_cannot_draw_is_refused(model, problem, page):
    with pytest.raises(UserError, match=f"{problem}.*--format onnx"):
        save_page(contrasting(model()), "a run", page)
    assert not page.exists()


def test_a_page_that_draws_something_else_is_not_kept(cgan, tmp_path, monkeypatch, capsys):
    encode = export_html.encode_tensor
    monkeypatch.setattr(
        export_html, "encode_tensor", lambda value, fine: encode(value.flip(0), fine)
    )
    line = fails(capsys, "export", str(cgan), "--format=html", f"--out={tmp_path}")
    assert re.search("an image differs from PyTorch's by .*, and 0.01 is allowed", line)
    assert not [*tmp_path.iterdir()]


def test_a_run_is_exported_by_the_command(cgan, tmp_path):
    run("export", str(cgan), "--format=html", f"--out={tmp_path}")
    text = (tmp_path / "generator.html").read_text()
    assert "<title>conditionalgan</title>" in text
    assert len(model_of(text)["classes"]) == 10


def test_a_classifier_is_refused_in_one_line(classifier, tmp_path, capsys):
    line = fails(capsys, "export", str(classifier), "--format=html", f"--out={tmp_path}")
    assert line == (
        "error: classifier.html is not written: a page draws images, and ImageClassifier does not: "
        "export it with --format onnx"
    )
    assert not [*tmp_path.iterdir()]


def test_examples_have_every_class():
    latents, labels = examples(small(ConditionalGAN))
    assert labels.bincount().tolist() == [16] * 10
    assert torch.equal(latents[:16], latents[16:32])
