"""The commands of docs/own-data.md, run in their order on a smaller folder for a few steps."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

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
@pytest.mark.filterwarnings("ignore:fit crop cuts off")  # of the oblong shapes
def test_the_walk_from_a_folder_to_a_file_for_other_programs(tmp_path, monkeypatch):
    for name in ("configs", "docs", "cli.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    scripts = [command[0] for command in COMMANDS if command[0] != "cli.py"]
    assert scripts == ["docs/shapes.py", "docs/emoji.py"]
    assert len(COMMANDS) == 11
    script("shapes").main(Path(COMMANDS[0][1]), count=40)
    for file, name, *options in COMMANDS[1:]:
        if file == "docs/emoji.py":  # whose font is not everywhere
            Path(name).symlink_to("shapes")
        else:
            cli.main([name, *options, *SHORTER.get(name, [])])
    run = Path("runs/own-cgan/version_0")
    files = "metrics.json", "figures/samples.png", "samples/samples.npz", "export/generator.onnx"
    for file in files:
        assert (run / file).is_file(), file
    assert Path("runs/own-classifier/version_0/predictions_files.png").is_file()
    assert len(list(Path("runs/own-classifier-sweep").glob("seed_*"))) == 3


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"docs/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_emoji_ask_for_what_is_missing_and_for_a_new_folder(tmp_path):
    emoji = script("emoji")
    emoji.FONT = tmp_path / "none.ttf"
    with pytest.raises(SystemExit, match="none.ttf is missing: sudo apt install"):
        emoji.main(tmp_path / "new")
    with pytest.raises(SystemExit, match="exists: remove it, or name another folder"):
        emoji.main(tmp_path)


def test_its_table_names_options_that_exist():
    from datamodules.own_images import ImageFolder, OwnImages

    options = re.findall(r"\| `--data\.(\w+) ", TEXT)
    assert len(options) > 5
    known = {*ImageFolder.__init__.__annotations__, *OwnImages.__init__.__annotations__}
    assert [option for option in options if option not in known] == []
