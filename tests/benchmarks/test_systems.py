"""Every benchmark module can be imported, and its models are built and trained."""

import importlib
import os
from pathlib import Path

import pytest
import yaml

from benchmarks import iris_cross_validation, processes, systems
from benchmarks.context import Context
from tests.conftest import ROOT

MODULES = sorted(path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py"))


@pytest.mark.parametrize("name", [name for name in MODULES if "keras" not in name])
def test_every_module_can_be_imported(name: str) -> None:
    importlib.import_module(f"benchmarks.{name}")


@pytest.mark.parametrize("name", systems.NARROW)
def test_narrow_models_train_and_full_ones_have_the_same_names(name: str) -> None:
    systems.fit(systems.NARROW[name](), 1, 4)
    assert systems.FULL.keys() == systems.NARROW.keys()


@pytest.mark.parametrize("kind", ["gan", "cgan"])
def test_a_lecture_gan_generates_images_of_the_data_sets_shape(kind: str) -> None:
    model = systems.lecture_gan(kind, reuse=False)
    latents, labels = model.draw(2, model.batch_generator(0))
    images = model.generator(model.generator_input(latents, labels))
    assert images.shape == systems.real_batch(2)[0].shape


def test_the_config_of_iris_is_cross_validated() -> None:
    config = yaml.safe_load((ROOT / "configs/iris.yaml").read_text())
    config["trainer"]["max_epochs"] = 10
    assert 0.8 < iris_cross_validation.network_accuracy(config, repeat=0, fold=0) <= 1


@pytest.mark.ddp
def test_ranks_return_their_results() -> None:
    assert processes.on_ranks(2, lambda add: int(os.environ["RANK"]) + add, 0.5) == [0.5, 1.5]


@pytest.mark.slow
def test_a_parent_paces_a_run_with_and_without_the_trainer(tmp_path: Path) -> None:
    context = Context(1, tmp_path, False, tmp_path)
    with context.workers({"iris": context.command("Fit", "lecture/iris")}) as workers:
        assert workers["iris"].run(3) > 0
        assert workers["iris"].run(-3) > 0
    assert workers["iris"].process.returncode == 0
