"""TensorBoard as a dashboard, and what commands leave in a run's folder."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from callbacks.dashboard import Dashboard, layout, settings_of
from figures.pictures import grouped
from models import IrisMLP
from tests.test_cli import DIGITS, TINY_GAN, run

SIZES = {"images": 0, "tensors": 0, "scalars": 0}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small GAN's run, which was tested and sampled from."""
    root = tmp_path_factory.mktemp("runs")
    run("fit", *TINY_GAN, *DIGITS, "--trainer.max_steps=8", "--trainer.limit_train_batches=4",
        f"--trainer.default_root_dir={root}", "--experiment=tiny", "--samples.min_steps=0",
        "--quality.samples=100", "--quality.final_samples=100", "--quality.min_steps=0",
        "--quality.gan_train=false", "--checkpoint.min_steps=0")  # fmt: skip
    folder = root / "tiny/version_0"
    for command in ("test", "sample", "maximize"):
        options = ["--steps=2"] if command == "maximize" else []
        run(command, f"--ckpt_path={folder}", *options)
    return folder


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance=SIZES).Reload()


def test_no_card_is_a_placeholder_and_pictures_are_grouped(finished: Path) -> None:
    tags = events(finished).Tags()
    assert not {"epoch", "hp_metric"} & set(tags["scalars"])
    assert set(tags["images"]) == {"data/examples", "model/network", "pictures/samples"}
    assert "epoch" in (finished / "metrics.csv").read_text().splitlines()[0]
    assert grouped("confusion_test") == "pictures/confusion_test"


def test_custom_scalars_show_losses_accuracies_scores_and_speed(finished: Path) -> None:
    found = events(finished)
    (tensor,) = [e.tensor_proto for e in found.Tensors("custom_scalars__config__")]
    shown = Layout.FromString(tensor.string_val[0])
    charts = {chart.title: [*chart.multiline.tag] for chart in shown.category[0].chart}
    assert charts["loss"] == ["train/d_loss", "train/g_loss"]
    assert charts["Frechet distance"] == ["val/frechet", "floor/frechet"]
    assert charts["examples per second"] == ["train/examples_per_s"]
    missing = {tag for tags in charts.values() for tag in tags} - set(found.Tags()["scalars"])
    assert missing == {"train/acc_class"}  # a conditional GAN has it


def test_settings_are_plain_and_compared_by_the_best_scores(finished: Path) -> None:
    found = events(finished)
    plugins = found.SummaryMetadata
    data = {
        tag: HParamsPluginData.FromString(plugins(tag).plugin_data.content)
        for tag in ("_hparams_/experiment", "_hparams_/session_start_info")
    }
    metrics = {m.name.tag for m in data["_hparams_/experiment"].experiment.metric_infos}
    assert {"best/frechet", "best/modes"} <= metrics <= set(found.Tags()["scalars"])
    settings = data["_hparams_/session_start_info"].session_start_info.hparams
    assert {"seed", "batch_size", "trunk", "trunk.width"} <= set(settings)
    assert "initialization" not in settings  # a default
    assert [name for name in settings if name.startswith("_")] == []
    best = [event.value for event in found.Scalars("best/frechet")]
    val = [event.value for event in found.Scalars("val/frechet")]
    assert best == pytest.approx([min(val[: i + 1]) for i in range(len(val))])
    assert len(best) == 2


def test_test_writes_beside_the_run_at_the_checkpoints_step(finished: Path) -> None:
    folder = finished / "test"
    found = events(folder)
    assert {e.step for tag in found.Tags()["scalars"] for e in found.Scalars(tag)} == {8}
    assert "test/frechet" in found.Tags()["scalars"]
    (points,) = folder.glob("*/features/tensors.tsv")
    assert len(points.read_text().splitlines()) == 2 * 500
    assert points.parent.parent.name == "00008"
    assert (points.parent / "sprite.png").is_file()
    classes = {line.split("\t")[0] for line in
               (points.parent / "metadata.tsv").read_text().splitlines()[1:]}  # fmt: skip
    assert classes == {"generated", "real"}


def test_commands_leave_no_event_files_in_a_run(finished: Path) -> None:
    folders = {path.parent for path in finished.rglob("events.out.tfevents.*")}
    assert folders == {finished, finished / "test"}
    assert len([*finished.glob("events.out.tfevents.*")]) == 1


def test_figures_of_a_classifiers_test_have_the_checkpoints_step(tmp_path: Path) -> None:
    root = f"--trainer.default_root_dir={tmp_path}"
    run("fit", "--model=IrisMLP", "--data=Iris", "--trainer.max_steps=3", root)
    for command in ("test", "predict"):
        run(command, f"--ckpt_path={tmp_path}/irismlp/version_0")
    found = events(tmp_path / "irismlp/version_0/test")
    assert [image.step for image in found.Images("pictures/confusion_test")] == [3]
    assert not (tmp_path / "irismlp/version_0/predict").exists()


class Validated:
    """The part of a Trainer that the best scores come from."""

    sanity_checking, global_step, loggers, is_global_zero = False, 5, (), True

    def __init__(self, **metrics: float) -> None:
        from lightning.pytorch.trainer.states import TrainerFn

        self.state = type("State", (), {"fn": TrainerFn.FITTING})
        self.callback_metrics = {f"val/{k}": torch.tensor(v) for k, v in metrics.items()}


def test_the_best_scores_survive_a_resume() -> None:
    first: Any = Dashboard()
    first.on_validation_end(Validated(loss=0.5, accuracy=0.75), IrisMLP())
    second: Any = Dashboard()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    second.on_validation_end(Validated(loss=0.25, accuracy=0.5), IrisMLP())
    assert second.best == {"loss": 0.25, "accuracy": 0.75}


def test_settings_are_those_that_are_no_defaults() -> None:
    optimizer = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.1, "betas": [0.9, 0.999]}}
    values = {"optimizer": optimizer, "ema_decay": 0.0, "_class_path": "models.IrisMLP"}
    found = settings_of(IrisMLP, values)
    assert found == {"optimizer": "Adam", "optimizer.lr": 0.1}


def test_a_layout_has_a_panel_for_each_score() -> None:
    names = ["train/loss", "val/loss", "val/frechet", "floor/frechet"]
    assert list(layout(names)["Run"]) == ["loss", "Frechet distance", "examples per second"]


def test_a_second_test_replaces_the_points(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("test", f"--ckpt_path={finished}")
    assert (finished / "test/00008/features/sprite.png").is_file()
    assert "Embedding dir exists" not in capsys.readouterr().out
