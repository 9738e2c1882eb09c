"""The commands of docs/own-data.md, run in their order on smaller folders for a few steps."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cli
from tests.conftest import ROOT

TEXT = (ROOT / "docs/own-data.md").read_text()
COMMANDS = [shlex.split(line, comments=True)[1:] for line in re.findall(r"^python .*", TEXT, re.M)]
FEW_STEPS = ["--trainer.max_steps=3", "--checkpoint.min_steps=0", "--samples.min_steps=0"]
SHORTER = {
    "fit": FEW_STEPS,
    "test": ["--quality.final_samples=30", "--quality.gan_train=false"],
    "sweep": [*FEW_STEPS, "--model.network.width=2"],
}


@pytest.mark.slow
@pytest.mark.extras
def test_the_walk_from_a_folder_to_a_file_for_other_programs(tmp_path, monkeypatch):
    for name in ("configs", "docs", "cli.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    scripts = [command for command in COMMANDS if command[0] != "cli.py"]
    assert [script[0] for script in scripts] == ["docs/emoji.py"] * 2
    assert len(COMMANDS) == 12
    for name, *options in (command[1:] for command in COMMANDS):
        if name in ("emoji", "five"):  # The font is not everywhere.
            draw_pictures(Path(name), options or ["food", "flags"])
        else:
            cli.main([name, *options, *SHORTER.get(name, [])])
    run = Path("runs/own-cgan/version_0")
    files = "metrics.json", "figures/samples.png", "samples/samples.npz", "export/generator.onnx"
    for file in files:
        assert (run / file).is_file(), file
    assert Path("runs/own-classifier/version_0/predictions_files.png").is_file()
    assert len(list(Path("runs/own-classifier-sweep").glob("seed_*"))) == 3


def draw_pictures(folder: Path, classes: list[str], count: int = 40) -> None:
    """Draws noisy pictures of one color for each class."""
    random = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        color = random.integers(0, 200, 3)
        for number in range(count):
            pixels = (color + random.integers(0, 56, (32, 32, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def test_its_table_names_options_that_exist():
    from datamodules.own_images import ImageFolder, OwnImages

    options = re.findall(r"\| `--data\.(\w+) ", TEXT)
    assert len(options) > 5
    known = {*ImageFolder.__init__.__annotations__, *OwnImages.__init__.__annotations__}
    assert [option for option in options if option not in known] == []
