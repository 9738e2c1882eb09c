"""The page of `demo` in a browser: a drawing is recognized, sliders move, nobody else is asked."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.commands.runs import train
from tests.conftest import ROOT
from tests.models.gans import WIDTH_2
from tests.pages.browser.conftest import watched
from tests.test_cli import run

pytestmark = pytest.mark.browser

# A 3, as shares of the canvas
THREE = [
    (0.35, 0.25), (0.42, 0.17), (0.55, 0.17), (0.64, 0.25), (0.64, 0.36), (0.57, 0.46),
    (0.46, 0.49), (0.57, 0.53), (0.65, 0.62), (0.65, 0.74), (0.58, 0.82), (0.44, 0.83),
    (0.35, 0.77),
]  # fmt: skip
ONE = [(0.42, 0.30), (0.52, 0.15), (0.52, 0.82)]
WAIT = 60_000  # milliseconds
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of a page with a classifier of digits, a GAN and gates by hand."""
    root: Path = tmp_path_factory.mktemp("runs")
    options = ["--data.dataset=digits", "--data.scale=255", "--trainer.pictures=false"]
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.max_epochs=10"]
    place = f"--trainer.default_root_dir={root}"
    run("fit", f"--config={ROOT}/configs/lecture/mnist_dense.yaml", *options, *quiet, place)
    run("test", f"--ckpt_path={root}/lecture-mnist_dense")
    train(root, "ConditionalGAN", *WIDTH_2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = root / "log"
    command = [sys.executable, str(ROOT / "cli.py"), "demo", f'--runs=["{root}"]']
    with log.open("w") as file:
        server = subprocess.Popen(
            [*command, f"--port={port}"], cwd=ROOT, stdout=file, stderr=file,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    end = time.monotonic() + 120
    while f"Open http://127.0.0.1:{port}" not in log.read_text():
        if server.poll() is not None or time.monotonic() > end:
            server.kill()
            pytest.fail(f"the page does not start: {log.read_text()}")
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    server.send_signal(signal.SIGINT)
    assert server.wait(120) == 0
    assert "Traceback" not in log.read_text()


@pytest.fixture(params=[{"viewport": {"width": 1280, "height": 800}}], ids=["mouse"])
def page(request, chromium, address):
    """The page, opened. Afterward, it asked nobody else and reported no error."""
    page = chromium.new_page(**request.param)
    requests, errors = watched(page)
    page.set_default_timeout(WAIT)
    page.goto(address)
    page.get_by_role("tab", name="Draw").wait_for()
    yield page
    page.close()
    remote = [url for url in requests if urlsplit(url).scheme not in ("data", "blob")]
    assert len(remote) > 10
    assert {urlsplit(url).hostname for url in remote} == {"127.0.0.1"}
    assert errors == []


def places_on(page: Any, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns where points of the canvas are on the page."""
    box = page.locator("#canvas canvas").first.bounding_box()
    return [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]


def draw(page: Any, points: list[tuple[float, float]]) -> None:
    """Draws a line on the canvas with the mouse."""
    places = places_on(page, points)
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place)
    page.mouse.up()


def wait_for_another(page: Any, element: str, source: str) -> None:
    """Waits for another picture than that with this address."""
    page.locator(f'{element} img:not([src="{source}"])').wait_for()


def source_of(page: Any, element: str) -> str:
    picture = page.locator(f"{element} img")
    picture.wait_for()
    return str(picture.get_attribute("src"))


def test_a_drawn_digit_is_recognized(page):
    brush = page.locator("#canvas button[title=Brush]")
    brush.wait_for()
    page.wait_for_timeout(1000)  # the brush is chosen when the white background has been loaded
    draw(page, THREE)
    page.locator("#answer h2").get_by_text("3", exact=True).wait_for()
    page.locator("#seen img").wait_for()
    page.locator("#canvas button[title='Clear canvas']").click()
    page.locator("#seen img").wait_for(state="detached")
    page.wait_for_timeout(1000)
    draw(page, ONE)
    page.locator("#answer h2").get_by_text("1", exact=True).wait_for()


def test_a_class_changes_the_image(page):
    page.get_by_role("tab", name="Generate").click()
    page.get_by_text("P(real) = ").wait_for()
    before = source_of(page, "#sample")
    page.locator("#seed input[type=range]").focus()
    page.keyboard.press("End")
    wait_for_another(page, "#sample", before)
    after = source_of(page, "#sample")
    page.locator("#class input").click()
    page.get_by_role("option", name="7").click()
    wait_for_another(page, "#sample", after)


def test_a_slider_of_a_gate_moves_its_surface(page):
    page.get_by_role("tab", name="Gates").click()
    page.get_by_text("3 of 4 right, mean loss 0.56").wait_for()
    before = source_of(page, "#surface")
    page.locator("#weight-1 input[type=range]").focus()
    page.keyboard.press("End")
    page.get_by_text("4 of 4 right").wait_for()
    wait_for_another(page, "#surface", before)
    page.get_by_label("XOR", exact=True).click()
    page.get_by_text("One unit cannot").wait_for()


def touch(page: Any, points: list[tuple[float, float]]) -> None:
    """Draws a line with a finger."""
    session = page.context.new_cdp_session(page)
    kinds = ["touchStart", *["touchMove"] * (len(points) - 1)]
    for kind, (x, y) in zip(kinds, points, strict=True):
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


@pytest.mark.parametrize("page", [PHONE], indirect=True, ids=["touch"])
def test_a_phone_shows_all_tabs_and_a_finger_draws_and_moves_weights(page):
    page.get_by_text(" old, test accuracy 0.").wait_for()
    page.locator("#canvas button[title=Brush]").wait_for()
    page.wait_for_timeout(1000)
    touch(page, places_on(page, THREE))
    page.locator("#answer h2").get_by_text("3", exact=True).wait_for()
    for name in ("Generate", "Train", "Gates"):  # none is behind a menu
        page.get_by_role("tab", name=name).tap()
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["viewport"]["width"]
    page.get_by_text("3 of 4 right").wait_for()
    box = page.locator("#weight-1 input[type=range]").bounding_box()
    assert box["x"] + box["width"] < page.locator("#weight-2").bounding_box()["x"]
    along = (box["x"] + share * box["width"] for share in (0.5, 0.6, 0.7, 0.9))
    touch(page, [(x, box["y"] + box["height"] / 2) for x in along])
    page.get_by_text("4 of 4 right").wait_for()


def test_a_network_trains_in_the_page(page):
    page.get_by_role("tab", name="Train").click()
    frame = page.frame_locator("iframe[title='Train a network']")
    frame.get_by_role("button", name="Step").click()
    frame.get_by_text("step 1 ").wait_for()
    assert frame.locator("#plane").bounding_box()["width"] > 400


def test_a_drawing_whose_page_is_closed_while_it_is_sent_is_forgotten(address):
    """The fixture checks at its end that the server printed no traceback."""
    place = urlsplit(address)
    with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
        head = ["POST /gradio_api/upload HTTP/1.1", f"Host: {place.netloc}", "Content-Length: 999"]
        head += ["Content-Type: multipart/form-data; boundary=b", "", "--b\r\n"]
        connection.sendall("\r\n".join(head).encode())
        time.sleep(1)  # the server waits for the rest


def test_other_names_of_the_machine_are_refused(address):
    """Another page could give its own name this address, and read the answers."""
    request = urllib.request.Request(address, headers={"Host": "evil.example"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with pytest.raises(urllib.error.HTTPError) as refused:
        opener.open(request, timeout=60)
    assert refused.value.code == 400
