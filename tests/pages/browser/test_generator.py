"""The page of `export --format html`, opened from the disk without a network."""

from functools import partial
from typing import Any

import pytest
import torch

from datamodules.input_spec import InputSpec
from models import ConditionalGAN, SelfConditionedGAN
from pages import export_html
from pages.export_html import compute, read_page, save_page
from tests.models.gans import SHAPE, small
from tests.pages.browser.conftest import watched
from tests.pages.test_export_html import MODELS, contrasting

pytestmark = pytest.mark.browser

CLASSES = (
    "T-shirt/top",
    "a class with a long name",
    "</script>",
    "averyveryverylongnamewithoutspaces",
)
SIZES = [(1280, 800), (390, 844)]
PIXELS = "[...document.querySelector('#image').getContext('2d').getImageData(0, 0, 28, 28).data]"


@pytest.fixture
def opened(chromium, tmp_path):
    """A function that exports a model and opens its page, which asks for nothing but itself."""
    context = chromium.new_context()
    context.set_offline(True)
    page = context.new_page()
    requests, errors = watched(page)
    file = tmp_path / "generator.html"

    def opening(model: Any, size: tuple[int, int] = SIZES[0]) -> Any:
        save_page(model, "a run", file)
        page.set_viewport_size(dict(zip(("width", "height"), size, strict=True)))
        page.goto(file.as_uri())
        page.evaluate("ready")
        return page

    yield opening
    context.close()
    assert requests == [file.as_uri()]
    assert errors == []


def drawn(page: Any, latents: torch.Tensor, labels: Any) -> torch.Tensor:
    """What the page's JavaScript draws, (B, C * H * W)."""
    code = "([latents, labels]) => latents.map((z, i) => [...draw(z, labels && labels[i])])"
    return torch.tensor(page.evaluate(code, [latents.tolist(), labels]))


@pytest.mark.parametrize("kind", ["colors", "conditional", "detail", "clusters", "vae", "own"])
def test_the_page_draws_what_pytorch_draws(kind, opened):
    model = contrasting(MODELS[kind]())
    page = opened(model)
    latents, labels = model.draw_latents(12, torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = model(latents, labels).clamp(0, 1).flatten(1)
    found = drawn(page, latents, None if labels is None else labels.tolist())
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-2)
    assert wanted.std() > 0.1


def test_the_page_reads_8_bits_and_mixes_classes(opened, monkeypatch, tmp_path):
    monkeypatch.setattr(export_html, "LARGE_MATRIX", 50)
    monkeypatch.setattr(export_html, "FINENESS", (32,))
    # Random weights amplify what is cut off
    monkeypatch.setattr(export_html, "PAGE_TOLERANCE", 0.1)
    model = contrasting(MODELS["conditional"]())
    page = opened(model)
    latents, labels = model.draw_latents(12, torch.Generator().manual_seed(1))
    read = read_page((tmp_path / "generator.html").read_bytes())
    torch.testing.assert_close(
        drawn(page, latents, labels.tolist()), compute(*read, latents, labels).flatten(1)
    )
    mixtures = torch.rand(12, 10)
    with torch.no_grad():
        wanted = model(latents, mixtures).flatten(1)
    torch.testing.assert_close(drawn(page, latents, mixtures.tolist()), wanted, rtol=0, atol=5e-2)


def long_names() -> Any:
    model = contrasting(small(ConditionalGAN, num_classes=4))
    model.input_spec = InputSpec(SHAPE, 255.0, CLASSES)
    return model


def without_classes() -> Any:
    return contrasting(small(SelfConditionedGAN, clusters=3))


def is_drawn(page: Any) -> bool:
    return len({*page.evaluate(PIXELS)}) > 20


def test_a_class_another_style_and_a_walk_change_the_image(opened):
    page = opened(long_names())
    assert is_drawn(page)
    seen = [page.evaluate(PIXELS)]

    def changed() -> None:
        assert is_drawn(page)
        seen.append(page.evaluate(PIXELS))
        assert seen[-1] not in seen[:-1]

    page.get_by_role("button", name="</script>").click()
    changed()
    assert page.locator("#caption").inner_text() == "</script>, style 1"
    page.get_by_role("button", name="Another style").click()
    changed()
    page.get_by_label("Walk to").select_option("T-shirt/top")
    page.locator("#walk").focus()
    page.keyboard.press("End")
    changed()
    assert page.locator("#caption").inner_text().startswith("T-shirt/top, style")
    page.get_by_label("in the same style").check()
    page.locator("#walk").fill("0.5")
    changed()
    page.get_by_role("button", name="Walk", exact=True).click()
    for _ in range(600):  # `wait_for_function` is code from a string, which the page forbids
        if float(page.locator("#walk").input_value()) > 0.6:
            break
        page.wait_for_timeout(50)
    page.get_by_role("button", name="Stop").click()
    changed()


def test_a_page_without_classes_has_none(opened):
    page = opened(without_classes())
    assert not page.locator("#toward").is_visible()
    before = page.evaluate(PIXELS)
    page.locator("#choices button").nth(3).click()
    assert is_drawn(page)
    assert page.evaluate(PIXELS) != before
    assert page.locator("#caption").inner_text() == "style 4"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("model", [long_names, without_classes, MODELS["colors"]])
def test_nothing_overflows(model, size, opened):
    page = opened(contrasting(model()) if isinstance(model, partial) else model(), size)
    code = "[...document.querySelectorAll('*')].map((e) => e.getBoundingClientRect().right)"
    assert max(page.evaluate(code)) <= size[0]
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]
