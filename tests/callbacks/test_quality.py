"""A GAN's samples are scored in training and in `test`, on any number of images."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.cli import LightningArgumentParser

from callbacks.judges import FoundJudge
from callbacks.quality import Quality
from datamodules.base import InMemoryDataModule, Splits
from metrics.judge import JudgeNetwork
from models import GAN, ConditionalGAN
from models.generative import Draws, sample, to_pixels
from runtime.errors import UserError
from tests.callbacks.runs import Small, digits, trainer
from tests.metrics.brightness import Brightness
from tests.models.gans import KINDS, small


@pytest.mark.parametrize("kind", KINDS)
def test_the_end_of_an_epoch_logs_scores(kind: type[GAN], tmp_path: Path) -> None:
    run = trainer(tmp_path, Quality(samples=64, min_steps=1))
    run.fit(small(kind), datamodule=digits())
    conditional = kind is ConditionalGAN
    names = {"val/frechet", "val/modes"} | ({"val/label_accuracy"} if conditional else set())
    found = {
        k: v for k, v in run.callback_metrics.items() if k.startswith("val/") and "d_" not in k
    }
    assert found.keys() == names
    assert found["val/frechet"] > 1  # the generator is untrained


def test_scoring_changes_nothing_of_the_training(tmp_path: Path) -> None:
    weights = []
    for name, callbacks in {"scored": [Quality(samples=64, min_steps=1)], "not": []}.items():
        model = small()
        trainer(tmp_path / name, *callbacks, max_epochs=2).fit(model, datamodule=digits())
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)


def test_test_prints_the_table_with_floors_and_writes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quality = Quality(final_samples=150)
    monkeypatch.setattr(quality.scores["gan_train"], "steps", 2)
    run = trainer(tmp_path, quality)
    run.test(small(ConditionalGAN), datamodule=digits(), verbose=False)
    printed = capsys.readouterr().out
    assert "Quality of generated images against the test images" in printed
    assert "frechet" in printed
    assert "gan_train" in printed
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    assert found["counts"]["frechet"] == {"generated": 150, "train": 150, "test": 150}
    assert found["floor"]["label_accuracy"] == 1.0  # the judge knows these digits
    assert found["scores"]["frechet"] > 10 * found["floor"]["frechet"]
    assert found["scores"].keys() == found["floor"].keys()
    counts = found["class_counts"]  # a perfect generator reaches the floor: it has these labels
    assert [c["generated"] for c in counts] == [c["train"] for c in counts]
    figures = {path.name for path in (tmp_path / "run" / "figures").glob("*.png")}
    assert figures == {"asked_test.png", "classes_test.png", "worst_test.png"}


def test_real_images_in_place_of_generated_ones_score_as_the_floor_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = digits()
    assert data.splits is not None
    images, labels = (tensor[:360] for tensor in data.splits.train)

    def replay(trainer: Any, model: Any, draws: Draws) -> Any:
        yield images, labels, torch.arange(360)

    monkeypatch.setattr("callbacks.quality._generate", replay)
    run = trainer(tmp_path, Quality(final_samples=360, gan_train=False))
    run.test(small(ConditionalGAN), datamodule=data, verbose=False)
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    for name in ("frechet", "kid", "precision", "recall", "coverage", "intra_frechet"):
        assert found["scores"][name] == pytest.approx(found["floor"][name], abs=1e-9)
    assert found["scores"]["label_accuracy"] > 0.99


class SortedDigits(InMemoryDataModule):
    """Digits in the order of their classes, as a folder of files has them."""

    image_shape, num_classes, judge = (1, 28, 28), 10, "digits"

    def load_splits(self) -> Splits:
        found = digits().splits
        assert found is not None
        train, test = (s.take(s.targets.argsort(stable=True)) for s in (found.train, found.test))
        return Splits(train, test, test)


def test_few_samples_have_all_classes_though_the_data_are_in_their_order(tmp_path: Path) -> None:
    run = trainer(tmp_path, Quality(final_samples=100, gan_train=False))
    run.test(small(ConditionalGAN), datamodule=SortedDigits(64, 255.0), verbose=False)
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    for counts in found["class_counts"]:
        assert counts["generated"] == counts["train"]
        assert 3 < counts["train"] < 25
        assert 3 < counts["test"] < 25
    assert found["floor"]["label_accuracy"] > 0.95
    assert (tmp_path / "run" / "figures" / "worst_test.png").exists()


def test_no_judge_is_said_once_and_nothing_is_scored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = digits()
    data.judge = None
    run = trainer(tmp_path, Quality(samples=64, min_steps=1), max_epochs=2, limit_train_batches=1)
    run.fit(small(), datamodule=data)
    said = [record for record in caplog.records if "no judge" in record.getMessage()]
    assert [record.levelname for record in said] == ["INFO"]
    assert "val/frechet" not in run.callback_metrics


def test_images_that_the_judge_was_not_trained_on_are_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = FoundJudge(JudgeNetwork((3, 32, 32), 10), "mine", "")
    monkeypatch.setattr("callbacks.quality.find_judge", lambda name: judge)
    with pytest.raises(UserError, match=r"shape \(3, 32, 32\) .* \(1, 28, 28\)"):
        trainer(tmp_path, Quality()).fit(small(), datamodule=digits())


def test_an_extra_score_is_logged_recorded_and_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trainer(tmp_path, Quality(samples=64, min_steps=1, extra_scores=Brightness()))
    run.fit(small(), datamodule=digits())
    assert run.callback_metrics["val/brightness"] > 0
    quality = Quality(final_samples=150, gan_train=False, extra_scores=[Brightness()])
    run = trainer(tmp_path / "test", quality)
    run.test(small(ConditionalGAN), datamodule=digits(), verbose=False)
    found = json.loads((tmp_path / "test" / "run" / "metrics.json").read_text())["test"]
    assert found["scores"]["brightness"] == pytest.approx(
        run.callback_metrics["test/brightness"].item()
    )
    assert found["floor"]["brightness"] < found["scores"]["brightness"]
    assert found["counts"]["brightness"] == {"generated": 150, "train": 150, "test": 150}
    assert "gan_train" not in found["scores"]
    assert "\nbrightness " in capsys.readouterr().out


def test_two_scores_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match="a score 'brightness' already: rename"):
        Quality(extra_scores=[Brightness(), Brightness()])


@pytest.mark.parametrize(
    "given",
    [
        "tests.metrics.brightness.Brightness",
        "[tests.metrics.brightness.Brightness]",
        "[{class_path: tests.metrics.brightness.Brightness}]",
    ],
)
def test_extra_scores_are_given_by_import_path(given: str) -> None:
    parser = LightningArgumentParser()
    parser.add_lightning_class_args(Quality, "quality")
    config = parser.parse_args([f"--quality.extra_scores={given}"])
    quality = parser.instantiate_classes(config).quality
    assert isinstance(quality.scores["brightness"], Brightness)


def test_a_classifier_is_left_alone(tmp_path: Path) -> None:
    run = trainer(tmp_path, Quality(samples=64, min_steps=1))
    run.fit(Small(), datamodule=digits())
    assert "val/frechet" not in run.callback_metrics


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_does_not_depend_on_how_many_are_drawn(kind: type[GAN]) -> None:
    model = small(kind).eval()

    def draw(count: int, world_size: int = 1) -> torch.Tensor:
        shares = [Draws(model, count, 3, rank=r, world_size=world_size) for r in range(world_size)]
        drawn = [draw for share in shares for draw in share]
        order = torch.cat([d.places for d in drawn]).argsort()
        return torch.cat([sample(model, d.latents, d.labels) for d in drawn])[order]

    many = draw(1100)
    assert torch.equal(to_pixels(draw(7)), to_pixels(many[:7]))
    assert torch.equal(draw(1100, world_size=2), many)
    few = to_pixels(draw(501, world_size=4)).int()  # two blocks: processes share their rows
    assert (few - to_pixels(many[:501]).int()).abs().max() <= 1
    assert not torch.equal(many[:500], many[500:1000])  # each block has latents of its own


def test_classes_take_turns() -> None:
    model = small(ConditionalGAN)
    (draw,) = Draws(model, 6, classes=[3, 1, 4])
    assert draw.labels is not None
    assert draw.labels.tolist() == [3, 1, 4, 3, 1, 4]


def test_the_last_epoch_of_a_run_is_scored_though_it_is_short(tmp_path: Path) -> None:
    run = trainer(tmp_path, Quality(samples=64, min_steps=1000), max_epochs=1)
    run.fit(small(), datamodule=digits())
    assert "val/frechet" in run.callback_metrics


def test_no_samples_at_the_end_means_no_scores(tmp_path: Path) -> None:
    run = trainer(tmp_path, Quality(final_samples=0))
    run.test(small(ConditionalGAN), datamodule=digits(), verbose=False)
    assert "test/frechet" not in run.callback_metrics


def test_no_epochs_between_scorings_is_refused() -> None:
    with pytest.raises(UserError, match="every_n_epochs is 0"):
        Quality(every_n_epochs=0)
