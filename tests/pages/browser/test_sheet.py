"""The worksheet: its links open the settings that it names, and it prints on one page."""

import re

import pytest

from tests.pages.browser.conftest import SIZES, check_controls

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("size", SIZES)
def test_each_link_opens_its_setting(size, opened):
    page = opened("#sheet", size=size)
    check_controls(page)
    links = [link.get_attribute("href") for link in page.locator("#sheet a").all()]
    assert len(links) == 10
    page.get_by_label("Answer 1", exact=True).fill("three of four")
    for link in links:
        part = link.removeprefix("#").partition("?")[0]
        page.locator(f"#sheet a[href='{link}']").click()
        page.wait_for_timeout(300)  # the address follows the settings
        if part == "quiz" and not page.evaluate("SOURCES.length"):
            continue  # there is nothing to judge yet
        assert page.evaluate("location.hash").removesuffix("?") == link
        assert page.locator(".part:visible").get_attribute("id") == part
        page.get_by_role("button", name="Worksheet").click()
    assert page.get_by_label("Answer 1", exact=True).input_value() == "three of four"


def test_it_prints_on_one_page_without_buttons(opened):
    page = opened("#sheet", color_scheme="dark")
    assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4"))) == 1
    page.emulate_media(media="print")
    assert page.locator("button:visible, .screen:visible").count() == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
