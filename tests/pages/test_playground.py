"""`export --format playground` writes a small page that loads nothing and runs no strings."""

import re

from commands.export import export
from pages.playground import playground_page
from tests.test_cli import run

FORBIDDEN = ("eval(", "Function(", "innerHTML", "outerHTML", "document.write", "import(", "fetch(")


def test_the_page_is_small_and_loads_nothing():
    page = playground_page()
    assert len(page.encode()) < 300_000
    assert not re.findall(r"https?:|//\w+\.\w|\b(?:src|href|action)=|url\(|@import", page)
    assert "content=\"default-src 'none'; script-src 'unsafe-inline'; style-src" in page
    assert [word for word in FORBIDDEN if word in page] == []
    assert page.count("</script>") == 1


def test_the_page_is_written_to_a_file_or_into_a_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run("export", "--format", "playground")
    run("export", "--format", "playground", "--out", "new/lesson.html")
    assert "lesson.html: " in capsys.readouterr().out
    assert export(format=["playground"], out=tmp_path / "new") == [tmp_path / "new/playground.html"]
    files = "playground.html", "new/lesson.html", "new/playground.html"
    assert {(tmp_path / file).read_text("utf-8") for file in files} == {playground_page()}
