"""Runs in the page: computed as PyTorch does, steered and drawn for by mouse, touch and keys."""

import base64
import time
from functools import partial
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from commands.predict import classify_files
from datamodules.image_files import read_image
from datamodules.input_spec import InputSpec, match_spec
from models import Flow, ImageClassifier
from models.networks import FeedForward
from models.unet import UNet
from pages import trained
from pages.page import build_page
from pages.trained import Program, describe, encode, run_data
from tests.models.gans import SHAPE
from tests.pages.browser.conftest import until, watched
from tests.pages.runs import MODELS, contrasting, run_of

pytestmark = pytest.mark.browser

WIDE, PHONE = (1280, 800), (390, 844)
RIGHT = "[...document.querySelectorAll('*')].map((e) => e.getBoundingClientRect().right)"
HOSTILE = "</script><img src=x onerror=alert(1)>", "<b>", "averyveryverylongnamewithoutspaces", "%"
NAMELESS = """() => [...document.querySelectorAll("button, input, select, [role=img]")]
    .filter((e) => e.checkVisibility() && !(e.textContent.trim() || e.ariaLabel
        || e.getAttribute("aria-labelledby") || e.labels?.length)).map((e) => e.outerHTML)"""


@pytest.fixture
def opened(chromium, tmp_path):
    """A function that opens a page with runs, which asks for nothing but itself."""
    seen, file = [], tmp_path / "page.html"

    def opening(runs, size=WIDE, address="#runs", script="", **options):
        file.write_text(build_page(runs), "utf-8")
        viewport = dict(zip(("width", "height"), size, strict=True))
        page = chromium.new_context(viewport=viewport, offline=True, **options).new_page()
        page.add_init_script(script)
        seen.append((page, *watched(page)))
        page.goto(file.as_uri() + address)
        if address != "#points":
            settle(page)
        return page

    yield opening
    for page, requests, errors in seen:
        assert max(page.evaluate(RIGHT)) <= page.viewport_size["width"]
        assert page.evaluate(NAMELESS) == []
        page.context.close()
        assert {request.split("#")[0] for request in requests if request[:5] != "blob:"} == {
            file.as_uri()
        }
        assert errors == []


def settle(page):
    """Waits until the network has computed all that is wanted."""
    page.wait_for_timeout(30)
    until(page, "!PARTS.runs.isBusy()")


def pixels(page, canvas="image"):
    code = """(id) => { const {width, height} = $(id);
        return [...$(id).getContext("2d").getImageData(0, 0, width, height).data]; }"""
    return torch.tensor(page.evaluate(code, canvas)).view(-1, 4)[:, :3]


def data_of(kind, name=None, names=(), **options):
    return run_data(run_of(contrasting(MODELS[kind](), names), name or kind), **options)


COMPUTE = """async ([k, inputs]) => {
    const program = await programOf(dataOf("runs-data")[k]);
    const tensor = ([shape, data]) => ({shape, data: Float32Array.from(data)});
    return inputs.map((given) => [...program(...given.map(tensor)).data]);
}"""


@pytest.mark.parametrize("fineness", [0, 32])
def test_the_page_computes_what_pytorch_does_with_the_stored_weights(fineness, opened, monkeypatch):
    monkeypatch.setattr(trained, "FINENESS", (fineness,))
    monkeypatch.setattr(trained, "LARGE_MATRIX", 50)
    monkeypatch.setattr(trained, "TOLERANCE", 1.0)  # random weights amplify what is cut off
    page = opened([data_of(kind, real=False) for kind in MODELS])
    for k, kind in enumerate(MODELS):
        model = contrasting(MODELS[kind]())
        with torch.no_grad():
            _, function, trials = describe(model, run_of(model))
            program = Program(function, *(part[:1] for part in trials))
            weights = encode(program.weights, fineness)[1]
            inputs = [*zip(*(part[:3].split(1) for part in trials), strict=True)]
            wanted = torch.stack([program(*given, weights=weights).flatten() for given in inputs])
        given = [[(part.shape, part.flatten().tolist()) for part in row] for row in inputs]
        found = torch.tensor(page.evaluate(COMPUTE, [k, given]))
        assert wanted.std() > 0.05, kind
        assert (found - wanted).abs().max() <= 1e-3, kind


def drawing(size, color, back, lines, width, noise=0.0):
    """Lines on paper, under uneven light if there is noise."""
    image = Image.new("RGB", (2 * size[0], 2 * size[1]), back)
    pen = ImageDraw.Draw(image)
    for line in lines:
        points = [(x * 2 * size[0], y * 2 * size[1]) for x, y in line]
        pen.line(points, color, 2 * width, "curve")
    image = image.resize(size)
    if not noise:
        return image
    random = np.random.default_rng(0)
    light = np.linspace(0, noise, size[0])[None, :, None] + random.normal(0, 4, (*size[::-1], 3))
    return Image.fromarray((np.asarray(image) + light).clip(0, 255).astype(np.uint8))


SEVEN, FOUR = [[(0.3, 0.2), (0.7, 0.2), (0.45, 0.85)]], [
    [(0.6, 0.1), (0.2, 0.6), (0.85, 0.6)], [(0.62, 0.3), (0.6, 0.95)]]  # fmt: skip
MNIST = InputSpec(SHAPE, 255.0, None, "crop", 0.0, 20 / 28, (0.5, 0.5))
COLOR = InputSpec((3, 20, 24), 255.0)
PHOTO = drawing((130, 90), (200, 30, 30), (90, 120, 60), SEVEN, 8, 60)
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), np.uint8))
PICTURES = [
    (drawing((280, 280), "black", "white", SEVEN, 24), MNIST),
    (drawing((120, 120), "white", "black", SEVEN, 9), MNIST),
    (drawing((100, 140), "white", "black", SEVEN, 9),
     InputSpec((1, 32, 24), 255.0, None, "crop", 250.0, 0.7, (0.5, 0.45))),
    (drawing((80, 80), "black", "white", FOUR, 6), MNIST._replace(extent=None, fit="pad")),
    (drawing((28, 28), "white", "black", SEVEN, 3), MNIST),  # as training images are
    (NOISE, MNIST), (PHOTO, COLOR), (PHOTO, COLOR._replace(fit="pad")),
    (PHOTO, COLOR._replace(fit="stretch")),
]  # fmt: skip
# Files, of which the page thresholds the gray levels and does not correct the light
SCANS = [
    drawing((280, 200), "black", "white", FOUR, 14),
    drawing((300, 210), (40, 40, 90), (190, 185, 170), FOUR, 9, 40),
]
MATCH = """([width, height, text, spec]) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const planes = [0, 1, 2].map((c) => bytes.filter((_, i) => i % 3 === c));
    const {pixels, notes} = matchSpec({width, height, planes}, spec);
    return [[...pixels], notes.join("; ")];
}"""


def test_pictures_are_brought_to_the_form_of_training_images_as_predict_does(opened):
    page = opened([data_of("dense", real=False)])
    for image, spec in [*PICTURES, *((scan, MNIST) for scan in SCANS)]:
        text = base64.b64encode(image.convert("RGB").tobytes()).decode()
        found, notes = page.evaluate(MATCH, [*image.size, text, spec._asdict()])
        wanted, words = match_spec(image, spec)
        difference = torch.tensor(found) - wanted.flatten()
        if image in SCANS:
            assert difference.abs().float().mean() < 2
            assert "thresholded at one gray level" in notes
        else:
            assert difference.abs().max() <= 1, (image.size, spec)
        assert all(word in notes for word in words.split("; ")), (notes, words)


def test_a_generator_is_steered_by_mouse_and_keys(opened, tmp_path):
    data = data_of("conditional", "my run", ("T-shirt/top", *HOSTILE))
    page = opened([data, data_of("clusters", real=False)])
    seen = []

    def changed(caption):
        settle(page)
        seen.append(pixels(page))
        assert len(seen[-1].unique()) > 20
        assert not any(torch.equal(seen[-1], before) for before in seen[:-1])
        assert page.locator("#image-caption").inner_text() == caption

    changed("T-shirt/top, style 1")
    latents = page.evaluate("latentsOf(dataOf('runs-data')[0], '1')")
    model = contrasting(MODELS["conditional"]())
    with torch.no_grad():
        wanted = 255 * model(torch.tensor([latents]), torch.eye(10)[:1]).flatten()
    assert (seen[0][:, 0] - wanted).abs().max() < 3
    page.locator("#choices").get_by_role("button", name="</script>").click()
    changed(f"{HOSTILE[0]}, style 1")
    page.get_by_role("button", name="Another style").click()
    changed(f"{HOSTILE[0]}, style 3")
    page.get_by_label("Walk to").select_option("T-shirt/top")
    page.locator("#walk").focus()
    page.keyboard.press("End")
    changed("T-shirt/top, style 4")
    page.get_by_label("in the same style").check()
    page.locator("#walk").fill("0.5")
    changed(f"{HOSTILE[0]}, style 3 → T-shirt/top, style 3: 50 %")
    page.get_by_label("Share of class 5").fill("100")
    changed(f"{HOSTILE[0]} 50 % + class 5 50 %, style 3")
    page.get_by_label("Neighbor 3").click()
    changed(f"{HOSTILE[0]} 50 % + class 5 50 %, style 3, a neighbor")
    page.wait_for_timeout(300)
    address = page.evaluate("location.hash")
    page.get_by_role("button", name="Walk", exact=True).click()
    until(page, "$('walk').value > 0")
    page.get_by_role("button", name="Stop").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as PNG").click()
    assert download.value.suggested_filename == "my run.png"
    download.value.save_as(tmp_path / "saved.png")
    saved = np.asarray(Image.open(tmp_path / "saved.png").convert("RGB"))[::18, ::18]
    settle(page)
    assert torch.equal(torch.tensor(saved).view(-1, 3), pixels(page))
    page.locator("#run").select_option(label="clusters")
    settle(page)
    assert not page.get_by_label("Walk to").is_visible()
    page.locator("#choices button").nth(3).click()
    changed("style 4")
    again = opened([data], address=address)
    assert torch.equal(pixels(again), seen[6])


@pytest.fixture(scope="module")
def digits():
    """A classifier that has learned scikit-learn's digits, and its run."""
    model = contrasting(ImageClassifier(SHAPE, 10, partial(FeedForward, hidden=0)))
    run = run_of(model, "digits")
    images, labels = run.data().examples("train", 1500)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(30):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images / 255), labels).backward()
        optimizer.step()
    return model, run


def stroke(page, points, touch):
    box = page.locator("#pad").bounding_box()
    spots = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    if not touch:
        page.mouse.move(*spots[0])
        page.mouse.down()
        for spot in spots[1:]:
            page.mouse.move(*spot, steps=4)
        return page.mouse.up()
    session = page.context.new_cdp_session(page)
    for kind, spot in [("touchStart", spots[0]), *(("touchMove", s) for s in spots[1:])]:
        at = [dict(zip("xy", spot, strict=True))]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_a_drawing_is_classified_while_the_pen_moves(digits, opened):
    page = opened([run_data(digits[1])], WIDE)
    page.clock.install(time=0)
    page.clock.pause_at(1000)
    page.locator("#pad").scroll_into_view_if_needed()
    box = page.locator("#pad").bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    before = page.locator("#verdict").inner_text()
    for k in range(4):
        page.clock.run_for(60)
        page.mouse.move(box["x"] + 50 + 9 * k, box["y"] + 60)
    deadline = time.monotonic() + 30
    while page.locator("#verdict").inner_text() == before:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_a_drawing_is_classified_as_predict_does(size, digits, opened, tmp_path):
    model, run = digits
    touch = size == PHONE
    page = opened([run_data(run)], size, has_touch=touch, color_scheme="dark" if touch else "light")
    assert page.locator("#verdict").inner_text().startswith("Draw one of: class 0, class 1")
    page.locator("#pad").scroll_into_view_if_needed()
    stroke(page, SEVEN[0], touch)
    settle(page)
    picture = page.evaluate("document.getElementById('pad').toDataURL()").partition(",")[2]
    (tmp_path / "drawn.png").write_bytes(base64.b64decode(picture))
    table, wanted = classify_files(model, [tmp_path / "drawn.png"])
    assert wanted.float().std() > 30
    assert (pixels(page, "received")[:, 0] - wanted.flatten()).abs().max() <= 1
    assert "dark on light, inverted" in page.locator("#notes").inner_text()
    best, share = table.predicted[0], table.iloc[0][f"p_{table.predicted[0]}"]
    name, shown = page.locator("#verdict").inner_text().removesuffix(" %").split(": ")
    assert name == best
    assert float(shown) == pytest.approx(100 * share, abs=0.2)
    meters = page.locator("#answers meter").evaluate_all("(all) => all.map((m) => m.value)")
    torch.testing.assert_close(
        torch.tensor(meters), torch.tensor(table.iloc[0, 2:].to_list()), rtol=0, atol=2e-3
    )
    heat = pixels(page, "heat")
    assert (heat[:, 0] > heat[:, 2] + 10).any()  # orange
    page.locator("#mistakes button").first.click()
    settle(page)
    assert page.locator("#notes").inner_text() == "a validation image as it is"
    mistake = page.locator("#mistakes button").first.inner_text().split("said ")[1]
    assert page.locator("#verdict").inner_text().split(":")[0] == " ".join(mistake.split()[:2])
    assert page.locator(".liked canvas").count() == 6 * page.locator(".liked").count() > 0
    page.get_by_role("button", name="Clear").click()
    assert page.locator("#answers").inner_text() == ""


DROP = """(bytes) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([Uint8Array.from(bytes)], "dropped.png"));
    const options = {dataTransfer, bubbles: true, cancelable: true};
    $("pad").dispatchEvent(new DragEvent("drop", options));
}"""


def test_pictures_from_files_are_classified(digits, opened, tmp_path):
    model, run = digits
    page = opened([run_data(run, real=False)])
    assert not page.locator("#mistakes-part").is_visible()
    large = drawing((1600, 1200), (40, 40, 90), (190, 185, 170), FOUR, 60, 40)
    for name, image in (("photo.png", large), ("drawn.png", SCANS[0])):
        image.save(tmp_path / name)
        page.evaluate("$('notes').textContent = ''")
        page.locator("#files").set_input_files(tmp_path / name)
        until(page, "$('notes').textContent")
        settle(page)
        wanted, _ = match_spec(read_image(tmp_path / name), model.input_spec)
        close = (pixels(page, "received")[:, 0] - wanted.flatten()).abs().float().mean()
        notes = page.locator("#notes").inner_text()
        assert ("reduced by the browser to 800 pixels" in notes) == (image is large)
        assert close < (8 if image is large else 2)  # the browser has reduced the large one
        assert wanted.float().mean() > 20
    content = BytesIO()
    PICTURES[1][0].save(content, "PNG")
    page.evaluate("$('notes').textContent = ''")
    page.evaluate(DROP, [*content.getvalue()])
    until(page, "$('notes').textContent")
    settle(page)
    wanted, _ = match_spec(PICTURES[1][0], model.input_spec)
    assert (pixels(page, "received")[:, 0] - wanted.flatten()).abs().max() <= 1
    assert "inverted" not in page.locator("#notes").inner_text()
    (tmp_path / "<b>.txt").write_text("no picture")
    page.locator("#camera").set_input_files(tmp_path / "<b>.txt")
    until(page, "$('verdict').textContent === '<b>.txt is no picture that this browser can read.'")


@pytest.mark.parametrize("kind", ["conditional", "clusters", "colors", "pooled"])
def test_nothing_overflows_on_a_phone(kind, opened):
    page = opened([data_of(kind, HOSTILE[0], names=HOSTILE, real=False)] * 2, PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
    assert page.locator("#run option").all_inner_texts() == [HOSTILE[0], f"{HOSTILE[0]} (2)"]


def test_a_browser_without_workers_computes_in_the_page(opened):
    script = "Worker = class { constructor() { throw Error('refused'); } };"
    page = opened([data_of("drift", real=False)], script=script)
    assert len(pixels(page).unique()) > 20


def test_a_flow_draws_28_pixels_in_less_than_three_seconds(opened):
    flow = partial(
        Flow, SHAPE, 10, network=partial(UNet, widths=[32, 64]), steps=5, guidance=0.3,
        guidance_interval=(0.1, 1.0), class_dropout=0.1,
    )  # fmt: skip
    data = run_data(run_of(flow().eval()), real=False)  # as in configs/flow.yaml
    page = opened([data], address="#points")
    code = """async () => {
        const run = dataOf("runs-data")[0], program = await programOf(run), seconds = [];
        const inputs = [784, 10].map((n) => ({shape: [1, n], data: new Float32Array(n)}));
        for (let k = 0; k < 3; k++) {
            const start = performance.now();
            program(...inputs);
            seconds.push((performance.now() - start) / 1000);
        }
        return Math.min(...seconds);
    }"""
    assert page.evaluate(code) < 3
