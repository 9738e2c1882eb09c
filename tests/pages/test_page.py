"""`export --format html` writes a small page that loads nothing and runs no strings."""

import json
import re
import subprocess
import sys

import torch

from commands.export import export
from datamodules.digits import as_mnist_digits, load_digits
from pages.page import build_page, split_digits
from tests.conftest import ROOT
from tests.test_cli import run

RUNS_STRINGS = "eval(", "Function(", "innerHTML", "outerHTML", "document.write", "import("


def test_the_page_is_small_and_loads_nothing():
    page = build_page()
    assert len(page.encode()) < 300_000
    outside = r"https?:|//\w+\.\w|\b(?:src|action)=|\bhref=(?!\"#)|url\(|@import|fetch\("
    assert not re.findall(outside, page)
    assert "content=\"default-src 'none'; script-src 'unsafe-inline'; style-src" in page
    assert [word for word in RUNS_STRINGS if word in page] == []
    assert page.count("</script>") == 3


def test_the_digits_are_split_as_those_of_the_data_set():
    levels, labels, count = split_digits()
    train, test = load_digits()
    assert labels.tolist() == [*train.targets.tolist(), *test.targets.tolist()]
    held = torch.from_numpy(levels[count:]).float().view(-1, 1, 8, 8) / 16
    assert torch.equal((as_mnist_digits(held) * 255).round().byte(), test.inputs)


HOSTILE = "</script><img src=x onerror=alert(1)>", "<!--<script>", "%script%", "\\u003c", "\u2028"


def test_no_name_ends_its_script_or_fills_the_template():
    named = {"name": HOSTILE[0], "classes": [*HOSTILE]}
    page = build_page([named], title=HOSTILE[0])
    assert page.count("<script") == page.count("</script>") == 3
    data = re.search(r'<script id="runs-data" type="application/json">(.*?)</script>', page)
    assert json.loads(data[1]) == [named]
    assert "<img" not in page


def test_the_page_alone_is_written_to_a_file_or_into_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for out in ([], ["--out=new/lesson.html"], ["--out=new"]):
        run("export", "--format=html", *out)
    files = "page.html", "new/lesson.html", "new/page.html"
    assert {(tmp_path / file).read_text("utf-8") for file in files} == {build_page()}


def test_the_page_of_a_run_is_written_beside_its_other_files(tmp_path, monkeypatch, gan):
    monkeypatch.chdir(tmp_path)
    assert export(gan, ["html", "safetensors"]) == [
        gan / "export/page.html", gan / "export/model.safetensors",
    ]  # fmt: skip
    assert '"runs-data" type="application/json">[{' in (gan / "export/page.html").read_text("utf-8")


def test_the_page_needs_no_torch():
    code = "import sys, runpy; runpy.run_path('pages/page.py'); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
