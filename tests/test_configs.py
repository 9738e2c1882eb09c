"""The config files of the project: each trains, and each overlay composes."""

from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.datamodules.pictures import write_classes
from tests.test_cli import parsed, run

CONFIGS = sorted(path for path in (ROOT / "configs").glob("**/*.yaml"))
OVERLAYS = [path for path in CONFIGS if path.parent.name in ("trainer", "logger")]
SPACES = [path for path in CONFIGS if path.parent.name == "sweep"]
EXPERIMENTS = [path for path in CONFIGS if path not in OVERLAYS + SPACES]


def offline(path: Path, folder: Path) -> list[str]:
    """Arguments that replace a config's data set by the embedded one, or by images in a folder."""
    data = yaml.safe_load(path.read_text())["data"]
    own = [f"--data.path={folder}", "--data.val_fraction=0.2", "--data.batch_size=8"]
    batch = 200 if "drift" in path.name else 8  # which needs some images of each class
    digits = ["--data.dataset=digits", f"--data.batch_size={batch}"]
    return {"Images": digits, "ImageFolder": own}.get(data["class_path"], [])


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A user's own images."""
    return write_classes(tmp_path_factory.mktemp("photos"))


NAMES = [path.relative_to(ROOT / "configs").as_posix() for path in EXPERIMENTS]
WITH_EXTRAS = {"own/finetune.yaml": pytest.mark.extras}


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=name, marks=WITH_EXTRAS.get(name, ()))
        for path, name in zip(EXPERIMENTS, NAMES, strict=True)
    ],
)
def test_every_config_trains_and_validates(path, in_root, tmp_path, photos):
    quick = ["--trainer.fast_dev_run=1", "--quality.samples=100"]
    root = f"--trainer.default_root_dir={tmp_path}"
    run("fit", f"--config={path}", *offline(path, photos), *quick, root)
    assert not list(tmp_path.iterdir())  # a trial leaves nothing


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: path.stem)
def test_every_overlay_composes_with_an_experiment(path, in_root):
    """Parsed only: some ask for devices that are not here."""
    command = parsed("fit", "--config=configs/cgan.yaml", f"--config={path}")
    given = yaml.safe_load(path.read_text())["trainer"]
    parsed_values = command.config.fit.trainer
    if logger := given.pop("logger", None):
        assert parsed_values.logger.class_path.endswith(f".{logger['class_path']}")
    assert {key: parsed_values[key] for key in given} == given


def test_a_network_that_replaces_the_default_has_its_own_defaults(in_root):
    flags = ["--model=ImageClassifier", "--model.network=VGG16", "--data=Images"]
    network = parsed("fit", *flags).config.fit.model.init_args.network
    assert network.init_args.dropout == 0.5  # the default's is 0.0
