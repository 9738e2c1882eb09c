"""`export --format playground` writes a small page that loads nothing and runs no strings."""

import re

from pages.page import build_page
from tests.test_cli import run

RUNS_STRINGS = "eval(", "Function(", "innerHTML", "outerHTML", "document.write", "import("


def test_the_page_is_small_and_loads_nothing():
    page = build_page()
    assert len(page.encode()) < 300_000
    assert not re.findall(r"https?:|//\w+\.\w|\b(?:src|href|action)=|url\(|@import|fetch\(", page)
    assert "content=\"default-src 'none'; script-src 'unsafe-inline'; style-src" in page
    assert [word for word in RUNS_STRINGS if word in page] == []
    assert page.count("</script>") == 3


def test_the_page_is_written_to_a_file_or_into_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for out in ([], ["--out=new/lesson.html"], ["--out=new"]):
        run("export", "--format=playground", *out)
    files = "playground.html", "new/lesson.html", "new/playground.html"
    assert {(tmp_path / file).read_text("utf-8") for file in files} == {build_page()}
