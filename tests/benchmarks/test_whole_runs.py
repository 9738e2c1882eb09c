"""Whole runs: what is calculated from the start and the steps."""

from pathlib import Path

import pytest

from benchmarks import whole_runs
from benchmarks.context import Context


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(rounds=2, data_dir=tmp_path, real_mnist=False, scratch=tmp_path)


def test_a_run_is_its_start_and_its_steps(context: Context) -> None:
    context.seconds = {"gan: Keras": [0.2, 0.4], "gan: Ladder, Trainer.fit": [0.1, 0.1]}
    context.starts = {"gan: Keras": 5.0, "gan: Ladder, Trainer.fit": 4.0}
    keras, ladder = whole_runs.calculated(context, "gan")
    assert keras == pytest.approx([5 + 6000 * 0.2, 5 + 6000 * 0.4])
    assert ladder == pytest.approx([4 + 6000 * 0.1] * 2)


def test_a_system_whose_steps_were_not_measured_is_said_to_be_missing(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Context, "has_keras", True)
    monkeypatch.setattr(whole_runs, "measured", lambda context, name: [[6.0, 8.0], [3.0, 4.0]])
    (section,) = whole_runs.run(context)
    assert section.rows[0] == (
        "iris",
        "15",
        "7.00 (6.50-7.50)",
        "3.50 (3.25-3.75)",
        "2.00 (2.00-2.00)",
    )
    assert [row[0] for row in section.rows] == ["iris", "dense"]
    assert section.notes[1:] == [
        f"{title}: not run, because its steps were not measured."
        for title in ("CNN", "GAN", "cGAN")
    ]
