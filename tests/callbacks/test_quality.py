"""A generative model's images are scored in training and in `test`."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.cli import LightningArgumentParser

from callbacks.judges import FoundJudge
from callbacks.quality import Quality, _generate, plot_nearest, plot_worst
from datamodules.base import ArrayDataModule, Splits
from metrics import SCORES
from metrics.judge import JudgeNetwork, recipes
from metrics.probe import ProbedJudge
from metrics.samples import Samples
from models import ConditionalGAN
from models.generative import to_pixels
from models.sampling import LatentBatches, generate
from runtime.errors import UserError
from tests.callbacks.runs import digits, trainer
from tests.metrics.brightness import Brightness
from tests.models.gans import KINDS, small


@pytest.mark.parametrize("kind", KINDS)
def test_the_end_of_a_short_run_logs_scores(kind, tmp_path):
    run = trainer(tmp_path, Quality(samples=64, min_steps=1000), limit_train_batches=2)
    run.fit(small(kind), datamodule=digits())
    conditional = kind is ConditionalGAN
    names = {"val/frechet", "val/modes"} | ({"val/label_accuracy"} if conditional else set())
    found = {
        k: v for k, v in run.callback_metrics.items() if k.startswith("val/") and "d_" not in k
    }
    assert found.keys() == names
    assert found["val/frechet"] > 1  # the generator is untrained


def test_one_image_is_no_distribution_so_two_are_scored(tmp_path):
    run = trainer(tmp_path, Quality(samples=1, min_steps=1), limit_train_batches=1)
    run.fit(small(), datamodule=digits())
    assert run.callback_metrics["val/frechet"].isfinite()


def test_every_second_epoch_and_the_last_are_scored(tmp_path, monkeypatch):
    epochs: list[int] = []

    def score(self: Quality, trainer: Any, *args: Any) -> Any:
        epochs.append(trainer.current_epoch + 1)
        return None, None

    monkeypatch.setattr(Quality, "_score", score)
    quality = Quality(every_n_epochs=2, min_steps=1)
    run = trainer(tmp_path, quality, max_epochs=5, limit_train_batches=1, limit_val_batches=1)
    run.fit(small(), datamodule=digits())
    assert epochs == [2, 4, 5]


def test_scoring_changes_nothing_of_the_training(tmp_path):
    weights = []
    for name, callbacks in {"scored": [Quality(samples=64, min_steps=1)], "not": []}.items():
        model = small()
        run = trainer(tmp_path / name, *callbacks, max_epochs=2, limit_train_batches=3)
        run.fit(model, datamodule=digits())
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)


def scored(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run" / "metrics.json").read_text())["test"][-1]


def test_test_prints_the_table_and_writes_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("metrics.gan_train.STEPS", 2)
    run = trainer(tmp_path, Quality(final_samples=150))
    run.test(small(ConditionalGAN), datamodule=digits(), verbose=False)
    printed = capsys.readouterr().out
    assert "Quality of generated images against the test images, by the judge digits" in printed
    assert "\nfrechet ↓ " in printed
    assert "recognizes only" not in printed
    found = scored(tmp_path)
    assert found["counts"]["gan_train"] == {"generated": 150, "train": 150, "test": 150}
    assert found["floor"]["label_accuracy"] == 1.0  # the judge knows these digits
    assert found["scores"]["frechet"] > 10 * found["floor"]["frechet"]
    assert found["floor"].keys() == {score.name for score in SCORES}
    assert found["scores"].keys() - found["floor"].keys() == {"d_loss", "d_accuracy"}
    assert found["judge"] == {"name": "digits", "sha256": recipes()["digits"]["sha256"]}
    counts = found["class_counts"]  # a perfect generator has these labels
    assert [c["generated"] for c in counts] == [c["train"] for c in counts]
    figures = {path.name for path in (tmp_path / "run" / "figures").glob("*.png")}
    assert figures == {"asked_test.png", "nearest_test.png", "worst_test.png"}


def test_real_images_in_place_of_generated_ones_score_as_real_images(tmp_path, monkeypatch):
    data = digits()
    images, labels = (tensor[:360] for tensor in data.splits.train)

    def replay(*args: Any) -> Any:
        yield images, labels, torch.arange(360)

    monkeypatch.setattr("callbacks.quality._generate", replay)
    run = trainer(tmp_path, Quality(final_samples=360, gan_train=False))
    run.test(small(ConditionalGAN), datamodule=data, verbose=False)
    found = scored(tmp_path)
    for name in ("frechet", "kid", "precision", "recall", "intra_frechet"):
        assert found["scores"][name] == pytest.approx(found["floor"][name], abs=1e-9)
    assert found["scores"]["label_accuracy"] > 0.99


def test_an_image_is_scored_with_the_class_it_was_drawn_for(tmp_path, monkeypatch):
    data, model = digits(), small(ConditionalGAN)
    images, labels = data.splits.train
    known = torch.stack([images[labels == k][0] for k in range(10)]) / 255
    monkeypatch.setattr(model, "forward", lambda latents, labels: known[labels])
    run = trainer(tmp_path, Quality(final_samples=100, gan_train=False))
    run.test(model, datamodule=data, verbose=False)
    assert scored(tmp_path)["scores"]["label_accuracy"] == 1.0


def test_the_seed_of_a_run_decides_which_images_are_scored(tmp_path):
    model = small()
    model.seed = 7
    ((images, *_),) = _generate(trainer(tmp_path), model, 50, torch.tensor([]))
    (draw,) = LatentBatches(model, 50, 7)
    assert images.equal(to_pixels(generate(model, draw.latents)))


def test_validate_compares_with_the_validation_images(tmp_path):
    data, quality = digits(), Quality(final_samples=360)
    trainer(tmp_path, quality).validate(small(), datamodule=data, verbose=False)
    assert torch.equal(quality._real[1].images, data.splits.val.inputs)


class SortedDigits(ArrayDataModule):
    """Digits in the order of their classes, as a folder of files has them."""

    image_shape, num_classes, judge = (1, 28, 28), 10, "digits"

    def load_splits(self) -> Splits:
        found = digits().splits
        train, test = (s.take(s.targets.argsort(stable=True)) for s in (found.train, found.test))
        return Splits(train, test, test)


def test_few_samples_have_all_classes_though_the_data_are_in_their_order(tmp_path):
    run = trainer(tmp_path, Quality(final_samples=100, gan_train=False))
    run.test(small(ConditionalGAN), datamodule=SortedDigits(64, 255.0), verbose=False)
    found = scored(tmp_path)
    for counts in found["class_counts"]:
        assert counts["generated"] == counts["train"]
        assert 3 < counts["train"] < 25
        assert 3 < counts["test"] < 25
    assert found["floor"]["label_accuracy"] > 0.95
    assert (tmp_path / "run" / "figures" / "worst_test.png").exists()


def test_a_judge_that_does_not_know_the_real_images_is_named_first(tmp_path, capsys, monkeypatch):
    torch.manual_seed(0)
    judge = FoundJudge(JudgeNetwork((1, 28, 28), 10, width=2), "mine", "")
    monkeypatch.setattr("callbacks.quality.find_judge", lambda name: judge)
    run = trainer(tmp_path, Quality(final_samples=100))
    run.test(small(), datamodule=digits(), verbose=False)
    lines = capsys.readouterr().out.strip().splitlines()
    assert re.match(
        r"The judge mine recognizes only \d+\.00 % \[.+\] \(\d+ of 100\) of real images", lines[0]
    )
    assert lines[1].startswith("Quality of generated images")


@pytest.fixture
def probed(monkeypatch):
    """Counts of images to which a judge was fitted, of which levels of 7 x 7 parts are features."""
    fitted: list[int] = []
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(7), torch.nn.Flatten())
    judge = ProbedJudge(network, (1, 28, 28), 49, 10)
    fit = judge.fit
    monkeypatch.setattr(judge, "fit", lambda train: (fitted.append(len(train)), fit(train)))
    found = FoundJudge(judge, "pretrained (x)", "abc")
    monkeypatch.setattr("callbacks.quality.pretrained_judge", lambda data: found)
    return fitted


def test_a_probe_learns_the_classes_of_training_images_once(probed, tmp_path, capsys):
    """It learns from all 1,317 training images, though only 300 are compared."""
    quality = Quality("pretrained", samples=64, min_steps=1)
    run = trainer(tmp_path, quality, max_epochs=2, limit_train_batches=1)
    run.fit(small(ConditionalGAN), datamodule=digits())
    assert probed == [1317]
    assert run.callback_metrics["floor/label_accuracy"] > 0.8
    run = trainer(tmp_path / "test", Quality("pretrained", final_samples=300, gan_train=False))
    run.test(small(ConditionalGAN), datamodule=digits(), verbose=False)
    assert probed == [1317, 1317]
    found = scored(tmp_path / "test")
    assert found["judge"] == {"name": "pretrained (x)", "sha256": "abc"}
    assert found["counts"]["frechet"] == {"generated": 300, "train": 300, "test": 300}
    assert found["floor"]["label_accuracy"] > 0.8
    assert found["scores"]["frechet"] > 3 * found["floor"]["frechet"]
    assert "x) recognizes only 8" in capsys.readouterr().out


@pytest.mark.parametrize(("count", "said"), [(999, 1), (1000, 0)])
def test_few_training_images_may_be_copied_which_is_said_once(count, said, tmp_path, caplog):
    data = digits()
    data.splits = data.splits._replace(train=data.splits.train.take(torch.arange(count)))
    for stage in ("fit", "test"):
        quality = Quality(samples=0, final_samples=0)
        run = trainer(tmp_path / stage, quality, limit_train_batches=1, limit_test_batches=1)
        getattr(run, stage)(small(), datamodule=data)
    texts = [record.getMessage() for record in caplog.records]
    assert sum("training images are few, so a generator may" in text for text in texts) == said


def test_copies_stand_above_the_training_image_and_the_held_out_one_that_are_nearest():
    def of(levels: list[float]) -> Samples:
        features, zeros = torch.tensor(levels)[:, None], torch.zeros(len(levels), dtype=torch.int64)
        images = features.byte()[:, :, None, None].expand(-1, 1, 2, 2)
        return Samples(features, zeros, 1, None, images)

    figure = plot_nearest(of([30, 10, 50]), of([20, 51, 30]), of([12, 70]))
    titles = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert titles == ["generated"] * 3 + [
        *("training 0.00", "training 1.00", "training 10.00"),
        *("held out 18.00", "held out 20.00", "held out 2.00"),
    ]


def test_no_judge_is_said_once_and_nothing_is_scored(tmp_path, caplog):
    data = digits()
    data.judge = None
    run = trainer(tmp_path, Quality(samples=64, min_steps=1), max_epochs=2, limit_train_batches=1)
    run.fit(small(), datamodule=data)
    said = [record for record in caplog.records if "no judge" in record.getMessage()]
    assert [record.levelname for record in said] == ["INFO"]
    assert "val/frechet" not in run.callback_metrics


def test_an_extra_score_is_logged_and_recorded(tmp_path):
    quality = Quality(samples=64, min_steps=1, extra_scores=Brightness())
    run = trainer(tmp_path, quality, limit_train_batches=2)
    run.fit(small(), datamodule=digits())
    assert run.callback_metrics["val/brightness"] > 0
    quality = Quality(final_samples=150, gan_train=False, extra_scores=[Brightness()])
    run = trainer(tmp_path / "test", quality)
    run.test(small(ConditionalGAN), datamodule=digits(), verbose=False)
    found = scored(tmp_path / "test")
    logged = run.callback_metrics["test/brightness"].item()
    assert found["scores"]["brightness"] == pytest.approx(logged)
    assert found["floor"]["brightness"] < found["scores"]["brightness"]
    assert "gan_train" not in found["scores"]


def test_two_scores_of_one_name_are_refused():
    with pytest.raises(UserError, match="a score 'brightness' already: rename"):
        Quality(extra_scores=[Brightness(), Brightness()])


@pytest.mark.parametrize("given", ["{}", "[{}]"])
def test_extra_scores_are_given_by_import_path(given):
    path = "tests.metrics.brightness.Brightness"
    parser = LightningArgumentParser()
    parser.add_lightning_class_args(Quality, "quality")
    config = parser.parse_args([f"--quality.extra_scores={given.format(path)}"])
    quality = parser.instantiate(config).quality
    assert isinstance(quality.scores["brightness"], Brightness)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_does_not_depend_on_how_many_are_drawn(kind):
    model = small(kind).eval()

    def draw(count: int, world_size: int = 1) -> torch.Tensor:
        shares = [
            LatentBatches(model, count, 3, rank=r, world_size=world_size) for r in range(world_size)
        ]
        drawn = [draw for share in shares for draw in share]
        order = torch.cat([d.indices for d in drawn]).argsort()
        return torch.cat([generate(model, d.latents, d.labels) for d in drawn])[order]

    many = draw(1100)
    assert torch.equal(to_pixels(draw(7)), to_pixels(many[:7]))
    assert torch.equal(draw(1100, world_size=2), many)
    few = to_pixels(draw(501, world_size=4)).int()  # two blocks: processes share their rows
    assert (few - to_pixels(many[:501]).int()).abs().max() <= 1
    assert not torch.equal(many[:500], many[500:1000])  # each block has latents of its own


def test_classes_take_turns():
    model = small(ConditionalGAN)
    (draw,) = LatentBatches(model, 6, classes=[3, 1, 4])
    assert draw.labels.tolist() == [3, 1, 4, 3, 1, 4]


@pytest.mark.parametrize("labels", [None, torch.tensor([0, 1])])
def test_the_worst_images_stand_above_real_ones(labels):
    images = torch.randint(256, (2, 1, 8, 8), dtype=torch.uint8)
    worst = Samples(torch.zeros(2, 4), torch.tensor([1, 1]), 2, labels, images)
    nearest = Samples(torch.zeros(2, 4), torch.tensor([0, 1]), 2, None, images)
    figure = plot_worst(worst, nearest, ["cat", "dog"])
    titles = [text.get_text() for axes in figure.axes for text in axes.texts]
    above = ["seen as dog"] * 2 if labels is None else ["cat, seen as dog", "dog"]
    assert titles == [*above, "real cat", "real dog"]
