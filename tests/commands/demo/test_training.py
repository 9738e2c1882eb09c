"""`demo` trains small models in processes of their own."""

import sys
import time
from pathlib import Path

import pytest

from commands.demo import training
from commands.demo.training import RECIPES, Training, progress


def fake(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Replaces `fit` by a script."""
    monkeypatch.setattr(
        training, "fit_command", lambda *options: [sys.executable, "-c", script, *options]
    )
    monkeypatch.setattr(training, "PAUSE", 0.02)


def test_the_share_is_read_from_what_fit_prints() -> None:
    assert progress("Seed set to 0\n") == (0.0, "")
    assert progress("Step 24 of 240 (10%)\nStep 1,\n") == (0.1, "step 24 of 240, ")
    assert progress("Step 24 of 240 (10%)\nStep 240 of 240\n") == (1.0, "step 240 of 240, ")


def test_all_models_are_trained_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f"import sys; open({str(tmp_path / 'log')!r}, 'a').write(repr(sys.argv[1:]) + '\\n')"
    fake(monkeypatch, script)
    states = [*Training(tmp_path / "runs").follow(RECIPES)]
    assert states[-1] == (1.0, "Trained.")
    first, second = (tmp_path / "log").read_text().splitlines()
    assert "'--experiment=demo-classifier'" in first
    assert "'--experiment=demo-cgan'" in second
    assert f"'--trainer.default_root_dir={tmp_path / 'runs'}'" in second


def test_a_failure_is_said_in_its_own_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, "import sys; print('hello'); sys.exit('error: the disk is full')")
    *_, state = Training(tmp_path).follow(RECIPES)
    assert state.line == "Training failed: the disk is full"


def test_a_second_page_follows_the_same_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"open({str(tmp_path / 'log')!r}, 'a').write('x'); import time; time.sleep(0.5)"
    fake(monkeypatch, script)
    training = Training(tmp_path)
    next(training.follow({"one": ()}))  # this page is closed
    *_, state = training.follow({"one": ()})
    assert state.line == "Trained."
    assert (tmp_path / "log").read_text() == "x"


def test_stop_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, "print('Step 1 of 2', flush=True); import time; time.sleep(60)")
    training = Training(tmp_path)
    states = training.follow(RECIPES)
    while "step 1 of 2" not in next(states).line:
        pass
    started = time.monotonic()
    training.stop()
    *_, state = states
    assert time.monotonic() - started < 20
    assert state.line.startswith("Training failed")
    assert [*training.follow(RECIPES)][-1] == state  # nothing starts any more


@pytest.mark.slow
def test_the_recipes_are_options_of_fit(tmp_path: Path) -> None:
    short = {
        name: [*options, "--trainer.max_steps=2", "--trainer.limit_val_batches=0"]
        for name, options in RECIPES.items()
    }
    *_, state = Training(tmp_path).follow(short)
    assert state.line == "Trained."
    assert {path.name for path in tmp_path.iterdir()} == {*RECIPES}
