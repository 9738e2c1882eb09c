"""The printed and recorded results of an evaluation are those of the model's predictions."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from callbacks.evaluation import Evaluation, WorstMistakes, as_record, describe_gap
from datamodules import Functions, Gates, Iris
from models import FunctionMLP, GateMLP
from runtime.files import read_json
from runtime.intervals import interval_of_mean, wilson_interval
from tests import ranks
from tests.callbacks.runs import Small, digits, pictures, probabilities, trainer


def recorded(folder: Path, stage: str = "test") -> Any:
    return read_json(folder / "run" / "metrics.json")[stage][-1]


def examples(count: int, classes: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    images = torch.rand(count, 1, 3, 3, generator=random)
    targets = torch.randint(classes, (count,), generator=random)
    logits = 2 * torch.randn(count, classes, generator=random)
    return images, targets, logits.softmax(dim=1)


@pytest.mark.parametrize("size", [3, 16, 200])
def test_the_worst_mistakes_are_the_worst(size):
    images, targets, p = examples(103)
    metric = WorstMistakes(num_mistakes=6)
    for batch in zip(images.split(size), targets.split(size), p.split(size), strict=True):
        metric.update(*batch)
    found = metric.compute()
    confidence, predicted = p.max(dim=1)
    wrong = (predicted != targets).nonzero()[:, 0]
    worst = wrong[confidence[wrong].argsort(descending=True)][:6]
    assert torch.equal(found.images, images[worst])
    assert found.targets == targets[worst].tolist()
    assert found.predictions == predicted[worst].tolist()
    assert found.probabilities == confidence[worst].tolist()
    assert sum(map(len, metric.scores)) == 6  # no more are kept


def test_hits_are_no_mistakes():
    metric = WorstMistakes()
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    metric.update(torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 1]), p)
    found = metric.compute()
    assert (found.targets, found.predictions) == ([1], [0])


def test_a_class_without_examples_is_not_in_the_balanced_accuracy():
    counts = torch.tensor([[2, 0, 0], [1, 1, 1], [0, 0, 0]])  # by true and predicted class
    found = as_record(0.5, counts, 0.1, ["a", "b", "c"], {2: 0.8})
    assert found["scores"]["balanced_accuracy"] == pytest.approx(2 / 3)
    intervals, shares = found["intervals"], {"accuracy": 0.6, "top2_accuracy": 0.8}
    for name, share in shares.items():
        assert intervals[name] == wilson_interval(share, 5)
    assert intervals["balanced_accuracy"] == interval_of_mean([2, 1, 0], [2, 3, 0])
    assert intervals["accuracy_per_class/b"] == wilson_interval(1 / 3, 3)
    assert intervals.keys() - shares.keys() == {
        "balanced_accuracy", *(f"accuracy_per_class/{name}" for name in "abc"),
    }  # fmt: skip


def test_a_test_run_counts_every_image_once(tmp_path, capsys):
    """Also if probabilities of 1.0 are wrong and those just below are right."""
    model, data = Small(top_k=5), digits()
    with torch.no_grad():
        model.network[1].weight *= 100
    confidence, predicted = probabilities(model, data)[1].max(dim=1)
    assert 9 < (confidence == 1).sum() < 351
    targets = torch.where(confidence == 1, (predicted + 1) % 10, predicted)
    data.splits = data.splits._replace(test=data.splits.test._replace(targets=targets))
    run = trainer(tmp_path, Evaluation())
    run.test(model, datamodule=data, verbose=False)
    found, hits = recorded(tmp_path), int((confidence < 1).sum())
    assert found["examples"] == 360
    assert found["scores"]["accuracy"] == hits / 360
    for name in ("accuracy", "balanced_accuracy", "top5_accuracy", "loss", "calibration_error"):
        logged = run.callback_metrics[f"test/{name}"].item()
        assert found["scores"][name] == pytest.approx(logged, rel=1e-6)
    sevens = targets == 7
    share = (predicted[sevens] == 7).double().mean().item()
    assert found["accuracy_per_class"]["7"] == pytest.approx(share)
    printed = capsys.readouterr().out
    top = 100 * found["scores"]["top5_accuracy"]
    assert re.search(rf"\n  top-5 accuracy +{top:.2f} % \[.*\] \(\d+ of 360\)\n", printed)
    assert re.search(rf"accuracy +{100 * hits / 360:.2f} % \[.*\] \({hits} of 360\)\n", printed)
    assert re.search(rf"\n  class 7 +[\d.]+ % \[.*\] \([\d]+ of {sevens.sum()}\)\n", printed)
    names = {"confusion_test.png", "reliability_test.png", "mistakes_test.png"}
    assert pictures(tmp_path) == names


def test_a_fit_ends_with_its_last_validation_and_not_with_a_sanity_check(tmp_path):
    options = {"max_epochs": 2, "num_sanity_val_steps": 2, "limit_train_batches": 1}
    data = digits()
    trainer(tmp_path / "a", Evaluation(), **options).fit(Small(), datamodule=data)
    assert recorded(tmp_path / "a", "val")["examples"] == len(data.splits.val.targets)
    run = trainer(tmp_path / "b", Evaluation(), num_sanity_val_steps=2, max_steps=1)
    run.fit(Small(), datamodule=data)  # ends within its epoch
    assert not (tmp_path / "b" / "run" / "metrics.json").exists()


@pytest.mark.filterwarnings("ignore:Experiment logs directory")
@pytest.mark.parametrize("content", ["[1]", "{", '{"test": {"scores": {}}}'])
def test_scores_replace_a_damaged_file_with_a_warning(content, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.json").write_text(content)
    with pytest.warns(UserWarning, match=r"metrics.json\b.* It is overwritten"):
        trainer(tmp_path, Evaluation()).test(GateMLP(), datamodule=Gates("xor"), verbose=False)
    assert recorded(tmp_path)["examples"] == 4


@pytest.mark.parametrize(
    ("trained", "hits", "examples", "fires"),
    [
        (0.94, 19, 100, True),
        (1.0, 87, 100, False),  # ordinary overfitting
        (0.94, 80, 100, False),
        (1.0, 740, 1000, True),
        (1.0, 760, 1000, False),
        (1.0, 6, 10, False),  # within three standard errors, which are 0.46
        (0.3, 19, 100, False),
        (None, 19, 100, False),
    ],
)
def test_a_model_that_knows_its_training_data_alone_is_told(trained, hits, examples, fires):
    counts = torch.tensor([[hits - 1, examples - hits], [0, 1]])
    text = describe_gap(None if trained is None else torch.tensor(trained), counts)
    assert bool(text) is fires
    if fires:
        assert f"Accuracy in training {trained:.2f}, in validation {hits / examples:.2f}: " in text


@pytest.mark.parametrize("noise", [True, False])
def test_a_fit_ends_with_that_line_if_labels_of_the_validation_are_noise(noise, tmp_path, capsys):
    data = digits()
    if noise:
        val = data.splits.val
        data.splits = data.splits._replace(val=val._replace(targets=val.targets.roll(1)))
    model = Small(optimizer=partial(torch.optim.Adam, lr=0.01))
    trainer(tmp_path, Evaluation(), max_epochs=2).fit(model, datamodule=data)
    assert ("the model knows its training examples" in capsys.readouterr().out) is noise


def test_a_regressor_has_a_table_of_errors(tmp_path, capsys):
    run = trainer(tmp_path, Evaluation())
    run.test(FunctionMLP(), datamodule=Functions(num_eval=64), verbose=False)
    scores = {k: v.item() for k, v in run.callback_metrics.items()}
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()[-4:]]
    assert [[cell.strip() for cell in line if cell] for line in lines] == [
        ["Test"],
        ["loss", f"{scores['test/loss']:.4g}"],
        ["largest error", f"{scores['test/sup_error']:.4g}"],
        ["Fewer than 100 examples: others may score otherwise."],
    ]
    assert recorded(tmp_path)["scores"] == pytest.approx(
        {"loss": scores["test/loss"], "sup_error": scores["test/sup_error"]}
    )


@pytest.mark.parametrize(
    ("kind", "data", "drawn"),
    [
        (GateMLP, Gates, set()),  # four points
        (lambda: Small((4,), 3), Iris, {"reliability_test.png"}),  # 30 flowers, no images
    ],
)
def test_figures_that_say_nothing_are_left_out(kind, data, drawn, tmp_path):
    trainer(tmp_path, Evaluation()).test(kind(), datamodule=data(), verbose=False)
    assert pictures(tmp_path) == {"confusion_test.png"} | drawn


@pytest.mark.ddp
@pytest.mark.slow
def test_two_ranks_count_as_one_does(tmp_path):
    def test(devices: int) -> None:
        strategy = "ddp" if devices > 1 else "auto"
        run = trainer(tmp_path / str(devices), Evaluation(), devices=devices, strategy=strategy)
        run.test(Small(top_k=3), datamodule=digits(), verbose=False)

    for devices in (1, 2):
        assert not any(ranks.end(ranks.start(devices, partial(test, devices), tmp_path), 60))
    one, two = (recorded(tmp_path / str(devices)) for devices in (1, 2))
    assert one["accuracy_per_class"] == two["accuracy_per_class"]
    assert one["scores"] == pytest.approx(two["scores"], rel=1e-4)
