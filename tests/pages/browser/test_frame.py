"""The frame: one part is shown, the address says which and how, and no name runs."""

import pytest

from pages.page import build_page
from pages.trained import run_data
from tests.pages.browser.conftest import SIZES, change_address, check_controls, watched
from tests.pages.runs import MODELS, contrasting, run_of

pytestmark = pytest.mark.browser

HOSTILE = "</script><img src=x onerror='window.ran = 1'>"
SETTINGS = "PARTS.points.state.settings"
SOURCE = """() => {
    const images = {real: [Array(64).fill(1)], generated: [Array(64).fill(0)]};
    SOURCES.push({name: "a".repeat(99), shape: [1, 8, 8], pictures: async () => images});
    showTabs();
}"""


def address(page):
    page.wait_for_timeout(400)  # browsers refuse many changes in a second
    return page.evaluate("location.hash")


def test_an_address_opens_a_setting_and_a_setting_makes_an_address(opened):
    page = opened("#points?data=XOR&hidden=2")
    assert page.get_by_label("Data").input_value() == "XOR"
    assert page.evaluate(f"[{SETTINGS}.hidden, {SETTINGS}.rate]") == [2, 0.03]
    page.get_by_role("button", name="Flow").click()
    page.locator("#points").get_by_label("Learning rate").select_option("0.01")
    assert address(page) == "#points?mode=flow&rate=0.01"
    assert opened(address(page)).evaluate(f"[PARTS.points.state.method, {SETTINGS}.rate]") == [
        "flow", 0.01,
    ]  # fmt: skip
    page.locator("#points").get_by_label("Learning rate").select_option("0.005")
    assert address(page) == "#points?mode=flow"
    page.get_by_role("button", name="Classify").click()
    assert address(page) == "#points?data=XOR&hidden=2"  # a method keeps its settings
    change_address(page, "location.hash = '#points?data=spiral'")  # another link of the lesson
    assert page.get_by_label("Data").input_value() == "spiral"
    change_address(page, "history.back()")
    assert page.get_by_label("Data").input_value() == "XOR"


@pytest.mark.parametrize(
    "text",
    ["#points?data=%3Cimg%20src=x%20onerror=alert(1)%3E&hidden=1e9&rate=x&layers=NaN&other=1",
     "#points?mode=toString&hidden=2.5&__proto__=1&activation=", "#constructor", "#quiz", "#?&=%",
     "#points?speed=%E0%A4%A", "#__proto__?settings=1"],
)  # fmt: skip
def test_what_an_address_says_amiss_is_ignored(text, opened):
    wanted = opened().evaluate(f"[PARTS.points.state.method, {SETTINGS}]")
    page = opened(text)
    assert page.evaluate(f"[PARTS.points.state.method, {SETTINGS}]") == wanted
    assert address(page) in ("#points", text)


def test_a_tab_shows_its_part_which_keeps_what_it_has(opened):
    page = opened("#points?data=circle")
    page.evaluate("""() => {
        const part = PARTS.points, log = [];
        Object.assign(window, {log, part});
        PARTS.digits = {settings: {pace: 1}, isEmpty: () => false, close: () => log.push("close"),
                        open: (settings) => log.push(settings)};
        PARTS.runs = {settings: {}, isEmpty: () => true};
        visit(location.hash);
    }""")
    tabs = page.locator("#tabs button:visible").all_inner_texts()
    assert tabs == ["Points", "Digits", "Worksheet"]
    page.get_by_role("button", name="Start").click()
    page.wait_for_timeout(100)
    steps, name = page.evaluate("""() => {
        document.querySelector("#tabs [value=digits]").click();
        return [part.state.steps, shown.name];
    }""")
    assert name == "digits"  # at once
    page.wait_for_timeout(100)
    assert page.locator(".part:visible").get_attribute("id") == "digits"
    assert page.locator("[aria-current=page]").inner_text() == "Digits"
    change_address(page, "location.hash = '#digits?pace=3&other=1'")
    page.get_by_role("button", name="Points", exact=True).click()
    assert page.evaluate("log") == [{}, {"pace": 3}, "close"]
    assert page.evaluate("[part.state.steps, part.state.settings.data]") == [steps, "circle"]
    assert steps > 0


def test_a_setting_written_late_does_not_call_back_from_a_tab(opened):
    page = opened("#points")
    code = """
        const late = [], {setTimeout} = window, data = document.getElementById("data");
        window.setTimeout = (write) => late.push(write);
        data.value = "XOR";
        data.dispatchEvent(new Event("input", {bubbles: true}));
        location.hash = "#digits";
        late.forEach((write) => write());
        Object.assign(window, {setTimeout, written: late.length});
    """
    change_address(page, code)
    assert page.evaluate("written") > 0
    assert page.locator(".part:visible").get_attribute("id") == "digits"
    page.get_by_role("button", name="Points", exact=True).click()
    assert page.get_by_label("Data").input_value() == "XOR"


def test_the_page_runs_in_a_sandboxed_frame(opened, chromium, tmp_path):
    text = build_page().replace("&", "&amp;").replace('"', "&quot;")
    (tmp_path / "around.html").write_text(f'<iframe sandbox="allow-scripts" srcdoc="{text}">')
    page = chromium.new_context(offline=True).new_page()
    _, errors = watched(page)
    page.goto((tmp_path / "around.html").as_uri())
    frame = page.frame_locator("iframe")
    frame.get_by_role("button", name="GAN").click()
    frame.get_by_role("button", name="Step").click()
    assert frame.locator("#status").inner_text().startswith("step 1 ")
    page.wait_for_timeout(400)
    assert page.frames[1].evaluate("location.hash") == "#points?mode=gan"
    page.frames[1].evaluate(SOURCE)
    frame.get_by_role("button", name="Real or generated?").click()
    frame.get_by_role("button", name="Start").click()
    frame.get_by_role("button", name="Generated", exact=True).click()
    assert frame.locator("#quiz-question").inner_text() == "Image 2 of 2"
    frame.get_by_role("button", name="Points").click()
    assert frame.locator("#status").inner_text().startswith("step 1 ")
    page.context.close()
    assert errors == []


@pytest.fixture(scope="module")
def runs():
    """A generator and a classifier whose names want to become elements of the page."""
    classes = [f"{HOSTILE}{k}" for k in range(8)] + ["a" * 99, "</title><b>"]
    models = {kind: contrasting(MODELS[kind](), classes) for kind in ("conditional", "dense")}
    return [run_data(run_of(model, HOSTILE + kind)) for kind, model in models.items()]


@pytest.mark.parametrize("size", SIZES)
def test_all_controls_of_all_parts_have_names_and_fit_whatever_runs_are_called(size, opened, runs):
    page = opened(runs=runs, size=size)
    assert page.evaluate("shown.name") == "runs"
    counts = {}
    for tab in page.locator("#tabs button:visible").all():
        tab.click()
        part = tab.get_attribute("value")
        for choice in page.locator(".part:visible .choice button:visible").all():
            choice.click()
            check_controls(page)
        for k in range(2 if part == "runs" else 0):
            page.locator("#runs select").first.select_option(index=k)
            page.wait_for_timeout(300)
            assert HOSTILE in page.locator("#runs").inner_text()
            check_controls(page)
        counts[part] = check_controls(page)
    page.locator("#tabs button[value=quiz]").click()
    page.get_by_role("button", name="Start").locator("visible=true").click()
    page.get_by_text("Image 1 of").wait_for()
    for _ in range(50):
        page.keyboard.press("ArrowLeft")
    assert HOSTILE in page.get_by_label("The answers as CSV").input_value()
    check_controls(page)
    assert counts["points"] > 12
    assert counts["runs"] > 5
    assert counts["quiz"] >= 4
    assert page.evaluate("window.ran") is None
    assert page.locator("img").count() == 0
