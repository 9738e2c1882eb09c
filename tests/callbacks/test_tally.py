"""The worst mistakes are found, and memory stays small."""

import pytest
import torch
from torch import Tensor
from torchmetrics.classification import MulticlassCalibrationError

from callbacks.tally import WorstMistakes, calibration_of


def examples(count: int, classes: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    images = torch.rand(count, 1, 3, 3, generator=random)
    targets = torch.randint(classes, (count,), generator=random)
    logits = 2 * torch.randn(count, classes, generator=random)
    return images, targets, logits.softmax(dim=1)


def fill(metric: WorstMistakes, images: Tensor, targets: Tensor, p: Tensor, size: int = 16) -> None:
    for i in range(0, len(targets), size):
        metric.update(images[i : i + size], targets[i : i + size], p[i : i + size])


@pytest.mark.parametrize("size", [3, 16, 200])
def test_the_worst_mistakes_are_the_worst(size: int) -> None:
    images, targets, p = examples(103)
    metric = WorstMistakes(num_mistakes=6)
    fill(metric, images, targets, p, size)
    found = metric.compute()
    confidence, predicted = p.max(dim=1)
    wrong = (predicted != targets).nonzero()[:, 0]
    worst = wrong[confidence[wrong].argsort(descending=True)][:6]
    assert torch.equal(found.images, images[worst])
    assert found.targets == targets[worst].tolist()
    assert found.predictions == predicted[worst].tolist()
    assert found.probabilities == confidence[worst].tolist()


def test_hits_are_no_mistakes() -> None:
    metric = WorstMistakes()
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    metric.update(torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 1]), p)
    found = metric.compute()
    assert (found.targets, found.predictions) == ([1], [0])
    metric.reset()
    metric.update(torch.rand(2, 1, 2, 2), torch.tensor([0, 1]), p[:2])
    assert len(metric.compute().images) == 0


def test_calibration_in_closed_form() -> None:
    """Two of four right at 0.7, one of one at 1.0: (4 |0.5 - 0.7| + 1 |1 - 1|) / 5."""
    metric = MulticlassCalibrationError(2, n_bins=5)
    p = torch.tensor([[0.7, 0.3]] * 4 + [[0.0, 1.0]])
    metric.update(p, torch.tensor([0, 0, 1, 1, 1]))
    found = calibration_of(metric)
    assert found.error == pytest.approx(0.16)
    assert found.counts.tolist() == [0, 0, 0, 4, 1]
    torch.testing.assert_close(found.accuracy[3:], torch.tensor([0.5, 1.0]).double())
    expected = torch.tensor([0.7, 1.0]).double()
    torch.testing.assert_close(found.confidence[3:], expected, rtol=1e-6, atol=0)
    assert found.accuracy[:3].isnan().all()


def test_memory_does_not_grow_with_the_data() -> None:
    def size(repeats: int) -> int:
        metric = WorstMistakes(num_mistakes=5)
        for _ in range(repeats):
            fill(metric, *examples(64))
        return sum(t.numel() for t in (*metric.scores, *metric.classes, *metric.images))

    assert size(1) == size(4)
