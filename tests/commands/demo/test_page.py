"""The page of `demo`, as a program without a browser meets it."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands.demo.page import Page
from tests.commands.demo.test_models import TINY
from tests.commands.test_sample import train

pytestmark = pytest.mark.extras  # Gradio


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    root = tmp_path_factory.mktemp("runs")
    train(root, "ImageClassifier", *TINY)
    bad = root / "bad" / "checkpoints"
    bad.mkdir(parents=True)
    (bad / "last.ckpt").write_text("no checkpoint")
    with Page(root) as page:
        yield page


def get(page: Page, path: str = "/", **headers: str) -> tuple[str, dict[str, str]]:
    request = urllib.request.Request(page.address + path, headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as answer:
        return answer.read().decode(), dict(answer.headers)


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    html, headers = get(page)
    tags = re.findall(r"<(?:script|link|img|iframe|style)[^>]*>", html)
    assert tags
    assert [tag for tag in tags if re.search(r"https?://(?!127\.0\.0\.1)", tag)] == []
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'self'")
    assert "http" not in policy


def test_the_page_has_three_tabs_and_no_telemetry(page: Page) -> None:
    config = json.loads(get(page, "/config")[0])
    tabs = [part["props"]["label"] for part in config["components"] if part["type"] == "tabitem"]
    assert tabs == ["Classifier", "Generator", "Logic gate"]
    assert config["analytics_enabled"] is False
    assert "googleapis" not in json.dumps(config)


def test_other_names_of_the_machine_are_refused(page: Page) -> None:
    """Another page could give its own name this address, and read the answers."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(page, Host="evil.example")
    assert refused.value.code == 400


def test_the_output_says_where_the_page_is(page: Page) -> None:
    assert f"Open {page.address} in a browser of this machine. Ctrl-C stops it.\n" in page.output


def test_ctrl_c_ends_it_without_a_traceback(tmp_path: Path) -> None:
    with Page(tmp_path) as page:
        assert page.stop() == 0
        assert page.output.endswith("Stopped.\n")
        assert "Traceback" not in page.output
    assert [*tmp_path.iterdir()] == []
