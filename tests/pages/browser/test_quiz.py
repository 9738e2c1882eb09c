"""Real or generated: the answers are counted, with Wilson's interval and what networks say."""

import csv
import io
import math
from pathlib import Path

import pytest
from sklearn.metrics import roc_auc_score

from tests.pages.browser.conftest import SIZES, change_address, check_controls

pytestmark = pytest.mark.browser

NAME = '=1+1</script><img src=x onerror="alert(1)">'
# White images are real, black ones generated. D is right of all, and the judge knows nothing.
SOURCE = """(name) => {
    const image = (value) => new Float32Array(3 * 64).fill(value), verdicts = [
      {name: "D", says: [...Array(30).fill(0.9), ...Array(30).fill(0.1)], means: "P(real)"},
      {name: "judge", says: Array(60).fill(0.5), means: "how sure"},
    ];
    const many = (value) => Array.from({length: 30}, () => image(value));
    const source = {name, shape: [3, 8, 8],
                    pictures: async () => ({verdicts, real: many(1), generated: many(0)})};
    SOURCES.push(source, {...source, name: "few",
                          pictures: async () => ({real: [image(1)], generated: [image(0)]})});
    showTabs();
}"""
PIXELS = """[...document.querySelectorAll('#quiz-images canvas')].map((canvas) =>
    canvas.getContext('2d').getImageData(4, 4, 1, 1).data[0])"""


@pytest.fixture
def quiz(opened):
    def opening(address="#quiz", size=SIZES[0], **options):
        page = opened(size=size, **options)
        page.evaluate(SOURCE, NAME)
        change_address(page, f"location.hash = '{address}'")
        return page

    return opening


def test_the_interval_is_wilsons(opened):
    """Its ends are the shares p from which the observed one is z standard deviations away."""
    page = opened()
    for right, count in [(0, 50), (1, 50), (25, 50), (38, 50), (50, 50), (3, 7)]:
        low, high = page.evaluate(f"wilson({right}, {count})")
        for p in (low, high):
            deviation = math.sqrt(max(p * (1 - p), 0) / count)
            assert abs(right / count - p) == pytest.approx(1.959964 * deviation, abs=1e-9)
        assert low + 1e-12 >= 0
        assert low <= right / count <= high <= 1 + 1e-12


def test_the_separation_of_two_sets_is_the_area_under_the_curve(opened):
    real, generated = [0.9, 0.5, 0.5, 0.2, 0.7], [0.1, 0.5, 0.6]
    found = opened().evaluate("([a, b]) => separation(a, b)", [real, generated])
    assert found == pytest.approx(roc_auc_score([1] * 5 + [0] * 3, real + generated))


def test_a_line_of_csv_is_read_back_and_runs_no_formula(opened):
    given = ['a "b", c', "two\nlines", "=1+1", "-1", 0.5, -3, ""]
    line = opened().evaluate("(values) => csvLine(values)", given)
    (found,) = csv.reader(io.StringIO(line))
    assert found == ['a "b", c', "two\nlines", "'=1+1", "'-1", "0.5", "-3", ""]


def test_images_one_at_a_time_are_answered_by_keys(quiz):
    page = quiz()
    page.get_by_role("button", name="Start").click()
    page.locator("#quiz-answers button").first.wait_for()
    shown = []
    for k in range(50):
        assert page.locator("#quiz-question").inner_text() == f"Image {k + 1} of 50"
        (pixel,) = page.evaluate(PIXELS)
        shown.append(pixel)
        is_right = k >= 12  # the first twelve answers are wrong
        page.keyboard.press("ArrowLeft" if (pixel == 255) is is_right else "ArrowRight")
    assert sorted(shown) == [0] * 25 + [255] * 25
    assert shown != sorted(shown)
    text = page.locator("#quiz").inner_text()
    assert "38 of 50 right: 76 %" in text
    assert "63 % to 86 %. You tell them apart." in text
    reals = sum(pixel == 255 for pixel in shown[12:])
    assert f"Of 25 real images you called {reals} real." in text
    assert f"Of 25 generated images you called {38 - reals} generated." in text
    assert "Mean of the real images 0.90, of the generated ones 0.10" in text
    assert "In 100 % of pairs, the real image" in text
    assert "In 50 % of pairs, the real image" in text
    assert page.locator(".gallery li").count() == 6 + min(6, 12 - (25 - reals))
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    saved = Path(download.value.path()).read_text()
    assert saved == page.get_by_label("The answers as CSV").input_value()
    (row,) = csv.DictReader(io.StringIO(saved))
    assert (row["source"], row["count"], row["right"]) == ("'" + NAME, "50", "38")
    assert row["answers"] == 12 * "w" + 38 * "r"
    assert len(row["times"].split()) == 50
    assert page.locator("img").count() == 0
    page.keyboard.press("ArrowLeft")  # the quiz is over
    page.get_by_role("button", name="Again").click()
    assert page.locator("#quiz-question").inner_text() == "Image 1 of 50"


@pytest.mark.parametrize("touch", [False, True])
def test_pairs_are_answered_by_a_touch_on_an_image(touch, quiz):
    page = quiz("#quiz?way=pairs", SIZES[touch], has_touch=touch)
    page.get_by_role("button", name="Start").click()
    for k in range(25):
        page.get_by_text(f"Pair {k + 1} of 25").wait_for()
        pixels = page.evaluate(PIXELS)
        assert sorted(pixels) == [0, 255]
        image = page.locator("#quiz-images canvas").nth(pixels.index(0))  # always wrong
        check_controls(page) if k == 0 else None
        image.tap() if touch else image.click()
    text = page.locator("#quiz").inner_text()
    assert "0 of 25 right: 0 %" in text
    assert "The network deceives you" in text
    assert "Told at once" not in text
    check_controls(page)


def test_an_image_is_hidden_after_its_seconds_and_a_change_begins_anew(quiz):
    page = quiz("#quiz?seconds=0.25&source=1&way=__proto__")
    assert page.get_by_label("Shown").input_value() == "single"
    assert page.get_by_label("Images of").input_value() == "1"
    page.clock.install(time=0)
    page.clock.pause_at(1000)  # a quarter of a second may be shorter than a slow machine needs
    page.get_by_role("button", name="Start").click()
    page.get_by_text("Image 1 of 2").wait_for()
    alpha = PIXELS.replace("data[0]", "data[3]")
    page.clock.run_for(240)
    assert page.evaluate(alpha) == [255]
    page.clock.run_for(20)
    assert page.evaluate(alpha) == [0]
    page.get_by_role("button", name="Generated", exact=True).click()
    assert page.evaluate(alpha) == [255]
    page.get_by_label("Visible for").select_option("1 second")
    assert page.get_by_role("button", name="Start").is_visible()
    page.clock.run_for(400)
    assert page.evaluate("location.hash") == "#quiz?source=1&seconds=1"


def test_images_that_come_late_or_never_do_no_harm(quiz):
    page = quiz()
    page.evaluate("""() => {
        window.waiting = [];
        SOURCES[0].pictures = () => new Promise((...ends) => waiting.push(ends));
        window.images = {real: [Array(192).fill(1)], generated: [Array(192).fill(0)]};
    }""")
    start, asked = page.get_by_role("button", name="Start"), page.locator("#quiz-question")
    start.click()
    assert start.is_disabled()
    page.get_by_label("Shown").select_option("in pairs")
    start.click()
    page.evaluate("waiting[0][0]({})")  # for the settings before
    assert asked.inner_text() == "The images are being computed ..."
    page.evaluate("waiting[1][0](images)")
    assert asked.inner_text() == "Pair 1 of 1"
    page.get_by_label("Shown").select_option("one at a time")
    start.click()
    page.evaluate("waiting[2][1](Error('too large'))")
    assert asked.inner_text() == "There are no images: too large"
    assert start.is_enabled()


def test_without_images_there_is_no_quiz(opened):
    page = opened("#quiz")
    assert page.locator(".part:visible").get_attribute("id") == "points"
    page.evaluate(SOURCE, NAME)
    assert "Real or generated?" in page.locator("#tabs button:visible").all_inner_texts()
