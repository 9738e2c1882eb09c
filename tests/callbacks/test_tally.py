"""Counts are exact, the worst are the worst, and memory stays small."""

import pytest
import torch
from sklearn.metrics import confusion_matrix
from torch import Tensor

from callbacks.tally import Tally


def examples(count: int, classes: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    images = torch.rand(count, 1, 3, 3, generator=random)
    targets = torch.randint(classes, (count,), generator=random)
    logits = 2 * torch.randn(count, classes, generator=random)
    return images, targets, logits.softmax(dim=1)


def fill(tally: Tally, images: Tensor, targets: Tensor, p: Tensor, size: int = 16) -> None:
    for i in range(0, len(targets), size):
        loss = -p[i : i + size].gather(1, targets[i : i + size, None]).log().mean()
        tally.update(images[i : i + size], targets[i : i + size], p[i : i + size], loss)


def test_counts_and_loss_are_those_of_the_whole_to_the_last_partial_batch() -> None:
    images, targets, p = examples(103)
    tally = Tally(4)
    fill(tally, images, targets, p)
    found = tally.compute()
    expected = confusion_matrix(targets, p.argmax(1))
    assert found.confusion.tolist() == expected.tolist()  # rows: true
    assert (found.examples, found.hits) == (103, int((p.argmax(1) == targets).sum()))
    assert found.loss == pytest.approx(-p.gather(1, targets[:, None]).log().mean().item(), rel=1e-5)


@pytest.mark.parametrize("size", [3, 16, 200])
def test_the_worst_mistakes_are_the_worst(size: int) -> None:
    images, targets, p = examples(103)
    tally = Tally(4, num_mistakes=6)
    fill(tally, images, targets, p, size)
    found = tally.compute().mistakes
    confidence, predicted = p.max(dim=1)
    wrong = (predicted != targets).nonzero()[:, 0]
    worst = wrong[confidence[wrong].argsort(descending=True)][:6]
    assert torch.equal(found.images, images[worst])
    assert found.targets == targets[worst].tolist()
    assert found.predictions == predicted[worst].tolist()
    assert found.probabilities == confidence[worst].tolist()


def test_hits_are_no_mistakes() -> None:
    tally = Tally(2)
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    tally.update(torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 1]), p, torch.tensor(0.0))
    found = tally.compute().mistakes
    assert (found.targets, found.predictions) == ([1], [0])
    tally.reset()
    tally.update(torch.rand(2, 1, 2, 2), torch.tensor([0, 1]), p[:2], torch.tensor(0.0))
    assert len(tally.compute().mistakes.images) == 0


def test_calibration_in_closed_form() -> None:
    """Two of four right at 0.7, one of one at 1.0: (4 |0.5 - 0.7| + 1 |1 - 1|) / 5."""
    tally = Tally(2, num_bins=5)
    p = torch.tensor([[0.7, 0.3]] * 4 + [[0.0, 1.0]])
    targets = torch.tensor([0, 0, 1, 1, 1])
    tally.update(torch.rand(5, 2), targets, p, torch.tensor(0.0))
    found = tally.compute().calibration
    assert found.error == pytest.approx(0.16)
    assert found.counts.tolist() == [0, 0, 0, 4, 1]
    torch.testing.assert_close(found.accuracy[3:], torch.tensor([0.5, 1.0]))
    torch.testing.assert_close(found.confidence[3:], torch.tensor([0.7, 1.0]))
    assert found.accuracy[:3].isnan().all()


def test_memory_does_not_grow_with_the_data() -> None:
    def size(repeats: int) -> int:
        tally = Tally(4, num_mistakes=5)
        for _ in range(repeats):
            fill(tally, *examples(64))
        states = [getattr(tally, name) for name in tally._defaults]
        return sum(t.numel() for s in states for t in (s if isinstance(s, list) else [s]))

    assert size(1) == size(4)
