"""`ladder.py` gives in Python what the commands give."""

import logging
import os
import random
import shutil
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from PIL import Image

import ladder
from datamodules import Images
from models import ConditionalGAN, FunctionMLP, ImageClassifier, IrisMLP
from models.networks import FeedForward
from runtime.errors import UserError
from runtime.files import METRICS, read_json
from tests.models.gans import small
from tests.test_cli import fails


@pytest.fixture(scope="module")
def images():
    """Training images uint8 (5, 28, 28)."""
    data = Images("digits")
    data.setup()
    return data.splits.train.inputs[:5, 0].numpy()


def state_of_the_process() -> list[Any]:
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
    numbers = random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()
    subnormal = torch.full((1,), 2e-38).div(4).item()
    return [handlers, numbers, subnormal, dict(os.environ), torch.is_grad_enabled()]


def test_a_trained_model_is_loaded_as_the_commands_use_it(classifier):
    before = state_of_the_process()
    model = ladder.load(classifier)
    assert state_of_the_process() == before
    assert isinstance(model, ImageClassifier)
    assert not model.training
    assert model.input_spec == Images("digits").input_spec()._replace(
        background=0.0, extent=20 / 28, centre=model.input_spec.centre
    )
    alone = ladder.load(str(classifier / "checkpoints" / "last.ckpt"))
    assert torch.equal(model(torch.ones(1, 1, 28, 28)), alone(torch.ones(1, 1, 28, 28)))


@pytest.mark.parametrize("channels", [1, 3])
def test_samples_of_a_gan_are_plotted(channels):
    images, labels, _ = ladder.sample_images(small(image_shape=(channels, 16, 16)), count=6)
    assert images.shape == ((6, 16, 16) if channels == 1 else (6, 16, 16, 3))
    assert labels is None
    figure = ladder.plot(images, "abcdef")
    assert [text.get_text() for text in figure.axes[0].texts] == [*"abcdef"]
    assert not ladder.plot(images).axes[0].texts


def test_images_are_classified_in_every_layout(classifier, images):
    model = ladder.load(classifier)
    expected = ladder.classify(model, images)
    assert expected["index"].tolist() == [*"01234"]
    floats = images.astype(np.float32) / 255
    for same in (images[:, None], images[..., None], floats, torch.from_numpy(images), [*images]):
        found = ladder.classify(model, same)
        assert found.predicted.tolist() == expected.predicted.tolist()
        np.testing.assert_allclose(found.p_3, expected.p_3, rtol=1e-5)


def test_color_images_are_classified_in_both_layouts():
    torch.manual_seed(0)
    model = ImageClassifier((3, 16, 16), 4, partial(FeedForward, hidden=0))
    colors = np.random.default_rng(0).integers(256, size=(2, 16, 16, 3), dtype=np.uint8)
    tables = [ladder.classify(model, part) for part in (colors, colors.transpose(0, 3, 1, 2))]
    assert tables[0].equals(tables[1])


ALL_BATCHES = {"trainer.limit_val_batches": 1.0}  # these runs' configs allow none


def test_scores_of_a_classifier_are_its_metrics(classifier):
    before = state_of_the_process()
    found = ladder.score(classifier, options=ALL_BATCHES)
    assert state_of_the_process() == before
    recorded = read_json(classifier / METRICS)["val"][-1]["scores"]
    assert found.score["accuracy"] == pytest.approx(recorded["accuracy"])
    assert found.floor.isna().all()
    with pytest.raises(UserError, match="nothing was scored: its data have no val split"):
        ladder.score(classifier)


@pytest.mark.slow
def test_scores_of_a_gan_have_floors(cgan):
    found = ladder.score(cgan, options=ALL_BATCHES | {"quality.final_samples": 150})
    recorded = read_json(cgan / METRICS)["val"][-1]
    assert {"frechet", "label_accuracy", "d_loss"} <= {*found.index}
    for name in ("frechet", "label_accuracy"):
        assert found.score[name] == pytest.approx(recorded["scores"][name])
        assert found.floor[name] == pytest.approx(recorded["floor"][name])
    assert found.floor.isna()["d_loss"]


def test_curves_have_one_row_for_each_step(tmp_path):
    text = "epoch,step,train/loss,val/loss\n0,0,3,\n0,1,2,\n0,1,,2.5\n1,2,1,\n1,9,,\n"
    (tmp_path / "metrics.csv").write_text(text)
    table = ladder.curves(tmp_path)
    assert table.index.tolist() == [0, 1, 2]  # not one without a metric
    assert [*table] == ["epoch", "train/loss", "val/loss"]
    assert table["train/loss"].tolist() == [3, 2, 1]
    assert table["val/loss"].dropna().to_dict() == {1: 2.5}


LOGS = [
    b"",
    b"5\n",
    b"val/loss\n1\n",
    bytes(range(256)),
    b"step,val/loss\nmany,low\n",
    b"step\n1\n1,2,3\n",
]


@pytest.mark.parametrize("content", [*LOGS, 2_000_000 * b"," + b"\n"], ids=range(len(LOGS) + 1))
def test_curves_of_a_broken_log_are_one_line(content, tmp_path):
    (tmp_path / "metrics.csv").write_bytes(content)
    with pytest.raises(UserError, match=f"^{tmp_path}.*metrics.csv"):
        ladder.curves(tmp_path)


def test_a_broken_picture_is_one_line(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "metrics.csv").touch()
    (tmp_path / "figures/gone.png").symlink_to("nowhere")
    for content in (b"", bytes(range(256)), b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"):
        (tmp_path / "figures/curves.png").write_bytes(content)
        with pytest.raises(UserError, match=r"curves\.png: cannot be opened"):
            ladder.figure(tmp_path, "curves")


def test_figure_opens_the_newest_picture_of_a_name(cgan, classifier):
    for seed in (0, 1):
        ladder.sample(cgan, 20, between=["3", "8"], seed=seed)
    newest = max(cgan.glob("samples*/between_3_8.png"), key=lambda path: path.stat().st_mtime)
    with Image.open(newest) as expected:
        assert np.array_equal(ladder.figure(cgan, "between_3_8"), expected)
    assert ladder.figure(classifier / "checkpoints" / "last.ckpt", "curves").width > 300
    assert ladder.curves(classifier / "checkpoints" / "last.ckpt").index.tolist() == [1, 2]
    with pytest.raises(UserError, match=r"has no figure 'curve'\. Did you mean curves"):
        ladder.figure(classifier, "curve")


def test_a_plot_has_the_wanted_columns_and_width():
    images = np.ones((4, 8, 8), np.uint8)
    wide, narrow = (ladder.plot(images, columns=n, width=2).get_size_inches() for n in (4, 2))
    assert wide[0] == pytest.approx(2 * narrow[0])
    assert narrow[0] > 4


@pytest.mark.parametrize("is_quiet", [False, True])
def test_training_returns_the_folder_and_leaves_the_process_alone(
    is_quiet, in_root, tmp_path, caplog
):
    loggers = [logging.getLogger(f"lightning.{name}") for name in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    signal.signal(signal.SIGUSR1, lambda *_: None)
    before = state_of_the_process()
    options = {"trainer.max_epochs": 1, "trainer.default_root_dir": tmp_path,
               "trainer.pictures": False, "model.variation": 0}  # fmt: skip
    try:
        if is_quiet:
            ladder.quiet()
        folder = ladder.train("configs/iris.yaml", options)
        assert ("Watch it" in caplog.text) != is_quiet
        assert all(logger.isEnabledFor(logging.WARNING) for logger in loggers)
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    assert state_of_the_process() == before
    assert folder == tmp_path / "iris" / "version_0"
    assert isinstance(ladder.load(folder), IrisMLP)
    with pytest.raises(UserError, match="no such file"):
        ladder.train(tmp_path / "nothing.yaml")
    assert state_of_the_process() == before


def test_mistakes_are_explained_in_one_line(classifier, images, tmp_path):
    model = ladder.load(classifier)
    (tmp_path / "run").mkdir()
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    for name, path in {"foreign": "no_module.Model", "function": "os.getcwd"}.items():
        saved = {"state_dict": {}, "hyper_parameters": {"_class_path": path}}
        torch.save(saved, tmp_path / f"{name}.ckpt")
    for expected, call in {
        "does not say its model's class": lambda: ladder.load(tmp_path / "other.ckpt"),
        "names the class no_module.Model": lambda: ladder.load(tmp_path / "foreign.ckpt"),
        "which cannot be imported": lambda: ladder.load(tmp_path / "foreign.ckpt", trust=True),
        "os.getcwd, which is no": lambda: ladder.load(tmp_path / "function.ckpt", trust=True),
        "draws images from a generator": lambda: ladder.sample_images(model),
        "but this model is FunctionMLP": lambda: ladder.classify(FunctionMLP(), images),
        "this IrisMLP have shape": lambda: ladder.classify(IrisMLP(), images),
        "the model takes (1, 28, 28)": lambda: ladder.classify(model, images[:, :20]),
        "torch.float64 from 0 to 255": lambda: ladder.classify(model, images.astype(float)),
        "are torch.int64": lambda: ladder.classify(model, images.astype(int)),
        "expected one of 'val', 'test', got 'train'": lambda: ladder.score(classifier, "train"),
        "no checkpoint below": lambda: ladder.curves(tmp_path / "run"),
    }.items():
        with pytest.raises(UserError) as refused:
            call()
        assert expected in str(refused.value)
        assert "\n" not in str(refused.value)


LATER = {  # what another version may have written, and what the line names
    "of_later": ({"of_later": 1}, "does not know 'of_later'"),
    "nested": ({"network": {"class_path": "ResidualConvNet", "init_args": {"of_later": 1}}},
               "does not know 'of_later'"),
    "group": ({"average": {"decay": 0.9, "half_life": 0.0}}, "does not know 'half_life'"),
    "class": ({"network": {"class_path": "models.convnets.OfLater"}}, "OfLater"),
    "value": ({"label_smoothing": "of_later"}, "of_later"),
}  # fmt: skip


@pytest.mark.parametrize("name", LATER)
def test_hyperparameters_of_a_later_version_are_one_line(name, classifier, tmp_path, capsys):
    values, expected = LATER[name]
    content = torch.load(classifier / "checkpoints/last.ckpt", weights_only=True)
    content["hyper_parameters"] |= values
    file = tmp_path / "later.ckpt"
    torch.save(content, file)
    line = fails(capsys, "predict", str(file), "--files", "none.png")
    assert str(file) in line
    assert expected in line
    assert len(line) < 500


class Foreign(LightningModule):
    """A model outside this project, which records no class."""

    def __init__(self, width: int = 1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(4, width)


class OwnIris(IrisMLP):
    """A subclass outside this project."""


def saved_by_lightning(model: LightningModule, path: Path) -> Path:
    """Returns a checkpoint of Lightning's own Trainer, without a command line."""
    trainer = Trainer(logger=False, max_steps=0, barebones=True)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path)
    return path


def test_a_checkpoint_of_lightnings_trainer_is_loaded(tmp_path):
    model = ConditionalGAN((1, 16, 16), 3, latent_dim=5)
    file = saved_by_lightning(model, tmp_path / "gan.ckpt")
    loaded = ladder.load(file)
    assert type(loaded) is ConditionalGAN
    assert loaded.latent_dim == 5
    assert not loaded.training
    assert all(torch.equal(w, model.state_dict()[k]) for k, w in loaded.state_dict().items())
    assert type(ladder.load(tmp_path, model=ConditionalGAN)) is ConditionalGAN

    foreign = saved_by_lightning(Foreign(3), tmp_path / "foreign.ckpt")
    assert ladder.load(foreign, model=Foreign).layer.out_features == 3
    with pytest.raises(UserError, match=r"give it, ladder\.load\(file, model=Class\)"):
        ladder.load(foreign)

    own = saved_by_lightning(OwnIris(), tmp_path / "own.ckpt")
    assert type(ladder.load(own, model=OwnIris)) is OwnIris
    assert type(ladder.load(own, trust=True)) is OwnIris
    with pytest.raises(UserError, match=r"names the class .*OwnIris, which is not of this project"):
        ladder.load(own)
    with pytest.raises(UserError, match="its models.iris.IrisMLP cannot be built"):
        ladder.load(file, model=IrisMLP)


def test_the_class_in_a_checkpoint_is_trusted_like_the_others(tmp_path):
    file = saved_by_lightning(IrisMLP(), tmp_path / "iris.ckpt")
    content = torch.load(file, weights_only=True)
    for name in ("os.getcwd", "no_module.Model", "torch.os.system", {"a": 1}, ["os.getcwd"], 5):
        torch.save(content | {"class_path": name}, file)
        with pytest.raises(UserError) as refused:
            ladder.load(file)
        assert "\n" not in str(refused.value)


@pytest.fixture
def beside(cgan, classifier, tmp_path):
    """A folder with checkpoints and a link to an empty folder outside."""
    (tmp_path / "beside").mkdir()
    (tmp_path / "elsewhere").mkdir()
    for run, name in ((cgan, "cgan.ckpt"), (classifier, "classifier.ckpt")):
        shutil.copy(run / "checkpoints/last.ckpt", tmp_path / "beside" / name)
    return tmp_path / "beside"


@pytest.mark.parametrize(
    ("tool", "checkpoint", "folder", "options"),
    [
        (ladder.sample, "cgan.ckpt", "samples", {"count": 1}),
        (ladder.export, "cgan.ckpt", "export", {"format": ["html"]}),
        (ladder.maximize, "classifier.ckpt", "figures", {"steps": 1, "occlusion": 0}),
    ],
)
def test_a_default_folder_that_is_a_link_is_refused(tool, checkpoint, folder, options, beside):
    (beside / folder).symlink_to("../elsewhere")
    with pytest.raises(UserError, match=f"{folder} is a link.* --out"):
        tool(beside / checkpoint, **options)
    assert not any((beside / "../elsewhere").iterdir())


def test_planted_links_are_not_followed(beside):
    (beside / "samples").mkdir()
    names = (".writable", "samples.npz", ".samples.partial.npz", ".grid.partial.png")
    for name in names:
        (beside / "samples" / name).symlink_to(f"../../elsewhere/{name}")
    ladder.sample(beside / "cgan.ckpt", count=1)
    assert not any((beside / "../elsewhere").iterdir())
    assert (beside / "samples/samples.npz").is_file()
