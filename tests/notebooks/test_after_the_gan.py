"""The notebook of the models after the GAN runs from top to bottom, and shows what it says."""

import re

import pytest

from tests.notebooks.test_lecture import count_pictures, execute, outputs_of, text_of

RUNS, PICTURES, CPU_SECONDS = 7, 11, 180


@pytest.mark.slow
def test_it_runs_and_shows_what_its_text_says(tmp_path):
    notebook, seconds = execute("after_the_gan.ipynb", tmp_path)
    assert [out.text for out in outputs_of(notebook, "stream") if out.name == "stderr"] == []
    assert len([*tmp_path.glob("runs/**/version_0")]) == RUNS
    scores = re.findall(r"label_accuracy((?: +[\d.]+){3})", text_of(notebook))
    assert all(float(share) > 0.5 for share in scores[0].split())
    assert count_pictures(notebook) == PICTURES
    print(f"{seconds:.0f} CPU-seconds")
    assert seconds < CPU_SECONDS
