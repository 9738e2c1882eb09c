"""The page of `demo` in a browser: a drawing is recognized, sliders move, nobody else is asked."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from torchvision.transforms.functional import to_pil_image

from commands.demo.training import DIGITS, QUIET, RECIPES
from datamodules import Images
from tests.commands.demo.page import Page
from tests.commands.test_sample import train
from tests.models.gans import WIDTH_2
from tests.test_cli import run

pytestmark = pytest.mark.browser

# A 3, as shares of the canvas
THREE = [
    (0.30, 0.25), (0.40, 0.17), (0.55, 0.17), (0.66, 0.25), (0.66, 0.36), (0.58, 0.46),
    (0.45, 0.49), (0.58, 0.53), (0.69, 0.62), (0.69, 0.74), (0.58, 0.84), (0.42, 0.85),
    (0.30, 0.77),
]  # fmt: skip
ONE = [(0.40, 0.30), (0.52, 0.15), (0.52, 0.85)]
WAIT = 60_000  # milliseconds


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page with the small classifier of `demo`, a GAN, and a damaged run."""
    root: Path = tmp_path_factory.mktemp("runs")
    place = [f"--trainer.default_root_dir={root}", "--experiment=digits"]
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
    run("fit", *RECIPES["demo-classifier"], *DIGITS, *QUIET, *quiet, *place)
    train(root, "ConditionalGAN", *WIDTH_2)
    damaged = root / "damaged" / "checkpoints"
    damaged.mkdir(parents=True)
    (damaged / "last.ckpt").write_text("no checkpoint")
    with Page(root) as page:
        yield page


@pytest.fixture
def page(chromium: Any, served: Page) -> Iterator[Any]:
    """The page, opened. Afterwards, it asked nobody else and reported no error."""
    page = chromium.new_page(viewport={"width": 1280, "height": 720})
    requests: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("websocket", lambda socket: requests.append(socket.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.set_default_timeout(WAIT)
    page.goto(served.address)
    page.get_by_role("tab", name="Classifier").wait_for()
    page.get_by_text("digits/version_0").first.wait_for()
    yield page
    page.close()
    remote = [url for url in requests if urlsplit(url).scheme not in ("data", "blob")]
    assert len(remote) > 10
    assert {urlsplit(url).hostname for url in remote} == {"127.0.0.1"}
    assert errors == []


def draw(page: Any, points: list[tuple[float, float]]) -> None:
    """Draws a line on the canvas with the mouse."""
    box = page.locator("#canvas canvas").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=5)
    page.mouse.up()


def wait_for_class(page: Any, name: str) -> None:
    page.locator("#class-0").get_by_text(re.compile(rf"^{name}: \d+\.\d %$")).wait_for()


def source_of(page: Any, element: str) -> str:
    """Returns the address of a picture, which changes with the picture."""
    picture = page.locator(f"{element} img")
    picture.wait_for()
    return str(picture.get_attribute("src"))


def wait_for_another(page: Any, element: str, source: str) -> None:
    page.locator(f'{element} img:not([src="{source}"])').wait_for()


def test_a_drawn_digit_is_recognized(page: Any) -> None:
    draw(page, THREE)
    wait_for_class(page, "3")
    page.get_by_role("button", name="Clear the drawing").click()
    page.get_by_text("Draw on the white square.").wait_for()
    draw(page, ONE)
    wait_for_class(page, "1")


def test_an_uploaded_image_is_recognized(page: Any, tmp_path: Path) -> None:
    data = Images("digits")
    data.setup()
    assert data.splits is not None
    place = int((data.splits.train.targets == 5).nonzero()[0])
    to_pil_image(data.splits.train.inputs[place]).save(tmp_path / "five.png")
    page.get_by_role("radio", name="Upload an image").click()
    page.locator("#upload input[type=file]").set_input_files(tmp_path / "five.png")
    wait_for_class(page, "5")


def test_a_damaged_run_is_named(page: Any) -> None:
    page.get_by_text("damaged: not a checkpoint, or an incomplete one").wait_for()


def test_a_slider_of_a_gate_moves_its_surface(page: Any) -> None:
    page.get_by_role("tab", name="Logic gate").click()
    page.get_by_text("4 of 4 right").wait_for()
    before = source_of(page, "#surface")
    slider = page.locator("#weight-2 input[type=range]")  # the bias: -5 computes OR
    slider.focus()
    for _ in range(20):
        page.keyboard.press("ArrowLeft")  # to -15, which computes AND
    page.get_by_text("2 of 4 right").wait_for()
    wait_for_another(page, "#surface", before)
    page.get_by_role("button", name="XOR by hand").click()
    page.get_by_text("4 of 4 right").wait_for()
    assert page.get_by_role("radio", name="two hidden units").is_checked()


def test_a_latent_changes_the_image(page: Any) -> None:
    page.get_by_role("tab", name="Generator").click()
    before = source_of(page, "#sample")
    page.get_by_text("P(real) = ").wait_for()
    slider = page.get_by_role("slider").first
    slider.focus()
    page.keyboard.press("End")
    wait_for_another(page, "#sample", before)
    page.get_by_role("radio", name="to another class").click()
    page.get_by_text("Share").first.wait_for()
