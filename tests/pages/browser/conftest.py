"""Debian's Chromium, driven by Playwright. Tests skip, with one line, where one is missing."""

import os
import re
import shutil
import subprocess
import time
from typing import Any

import pytest

from pages.page import build_page
from tests.conftest import skip

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


def found() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def install() -> str:
    """Installs Chromium from Debian, and returns what went wrong."""
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if not shutil.which("apt-get") or (sudo and not shutil.which("sudo")):
        return "there is no apt-get that this user may call"
    get = [*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    get += ["-o", "DPkg::Lock::Timeout=120"]  # another test may install
    packages = [*get, "install", "-y", "--no-install-recommends", "chromium"]
    for command in (packages, [*get, "update"], packages):  # the lists may be absent or old
        done = subprocess.run(command, capture_output=True, text=True)
        if found():
            return ""
    return " ".join(done.stderr.split())[-200:]


@pytest.fixture(scope="module")  # later, its event loop would disturb others
def chromium():
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: make test-browser")
    allowed = os.environ.get("CI") == "true" or os.environ.get("LADDER_BROWSER") == "install"
    if not found() and not allowed:
        pytest.skip("needs a Chromium: apt-get install chromium, or set LADDER_BROWSER=install")
    if not found() and (problem := install()):
        skip(f"needs a Chromium, which cannot be installed: {problem}")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found(), args=[*OPTIONS])
        yield browser
        browser.close()


def watched(page: Any) -> tuple[list[str], list[str]]:
    """Returns lists that receive the addresses that a page asks for, and its errors."""
    requests: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("websocket", lambda socket: requests.append(socket.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    return requests, errors


SIZES = [(1280, 800), (390, 844)]
RIGHT = "[...document.querySelectorAll('*')].map((e) => e.getBoundingClientRect().right)"
CONTROL = re.compile(r"- (?:button|checkbox|combobox|img|link|slider|spinbutton|textbox)\b(.*)")


@pytest.fixture
def opened(chromium, tmp_path):
    """A function that opens the page, from the disk. It asks for nothing else, without an error."""
    file, seen = tmp_path / "page.html", []

    def opening(address: str = "", runs: Any = (), size: Any = SIZES[0], **options: Any) -> Any:
        file.write_text(build_page(runs), "utf-8")
        viewport = dict(zip(("width", "height"), size, strict=True))
        page = chromium.new_context(viewport=viewport, offline=True, **options).new_page()
        seen.append((page, *watched(page)))
        page.goto(file.as_uri() + address)
        return page

    yield opening
    for page, requests, errors in seen:
        page.context.close()
        own = [url for url in requests if not url.startswith("blob:")]
        assert [url.split("#")[0] for url in own] == [file.as_uri()]
        assert errors == []


def until(page: Any, code: str, seconds: float = 60) -> None:
    """Waits until code is true. The page does not allow `wait_for_function`, which uses eval."""
    end = time.monotonic() + seconds
    while not page.evaluate(code):
        assert time.monotonic() < end, code
        page.wait_for_timeout(50)


def change_address(page: Any, code: str) -> None:
    """Runs code that changes the address, and waits until the page has been told."""
    told = "addEventListener('hashchange', () => done(), {once: true})"  # after the page's listener
    page.evaluate(f"new Promise((done) => {{ {told}; {code} }})")


def check_controls(page: Any) -> int:
    """Checks that all controls have names and nothing is too wide; returns how many there are."""
    assert max(page.evaluate(RIGHT)) <= page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]
    names = CONTROL.findall(page.locator("body").aria_snapshot())
    assert all(name.startswith(' "') for name in names), names
    return len(names)
