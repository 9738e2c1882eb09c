"""Mixup and CutMix: the images, their targets, and the loss of both."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from models import mixing
from models.classifier import CLASSIFIER_LOSSES, wanted
from models.mixing import Mixing
from tests.models.classifiers import convnet


def batch(count: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (B, 1, 28, 28) of one grey level each, 1 to B, and their numbers as targets (B,)."""
    targets = torch.arange(count)
    return (targets + 1.0)[:, None, None, None].expand(-1, 1, 28, 28), targets


@pytest.mark.parametrize("method", ["mixup", "cutmix"])
def test_each_image_has_parts_of_two_in_the_fraction_that_is_told(method):
    fractions = []
    for seed in range(300):
        torch.manual_seed(seed)
        found = Mixing(**{method: 1.0})(*batch())
        levels = found.targets + 1.0, found.others + 1.0
        mean = found.fraction * levels[0] + (1 - found.fraction) * levels[1]
        assert_close(found.inputs.mean(dim=(1, 2, 3)), mean)
        if method == "mixup":
            assert_close(found.inputs.amax(dim=(1, 2, 3)), mean)
        else:
            pasted = (found.inputs == levels[1][:, None, None, None]).float()
            different = levels[0] != levels[1]  # not mixed with itself
            share = pasted.mean(dim=(1, 2, 3))[different]
            assert_close(share, torch.full_like(share, 1 - found.fraction))
        assert found.targets.sort().values.tolist() == [*range(12)]  # each is a partner once
        fractions.append(found.fraction)
    assert min(fractions) >= 0.5
    assert torch.tensor(fractions).mean() == pytest.approx(0.74, abs=0.04)  # 0.75 without edges


def test_the_box_of_cutmix_has_its_area_where_no_edge_cuts_it():
    torch.manual_seed(0)
    boxes = [mixing.draw_box(40, 20, 0.25).float() for _ in range(400)]
    assert max(box.mean().item() for box in boxes) == pytest.approx(0.25, abs=0.03)
    share = torch.stack(boxes).mean(dim=0)
    assert share[20, 10] > 0.2 > share.min() > 0  # anywhere, the middle most often


def test_half_of_the_batches_get_either_method():
    torch.manual_seed(0)
    both = Mixing(mixup=1.0, cutmix=1.0)
    pasted = [bool((both(*batch()).inputs % 1 == 0).all()) for _ in range(200)]
    assert 70 < sum(pasted) < 130


@pytest.mark.parametrize("options", [{"mixup": 0.4}, {"cutmix": 1.0}])
def test_each_rank_mixes_its_rows_of_the_global_batch(options, monkeypatch):
    images, targets = batch()
    torch.manual_seed(0)
    whole = Mixing(**options)(images, targets)
    monkeypatch.setattr(mixing, "all_gather", lambda own: images if own.dim() > 1 else targets)
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 3)
    for rank in range(3):
        rows = slice(4 * rank, 4 * rank + 4)
        monkeypatch.setattr("torch.distributed.get_rank", lambda rank=rank: rank)
        torch.manual_seed(0)
        own = Mixing(**options)(images[rows], targets[rows])
        assert own.fraction == whole.fraction
        for mine, every in zip(own[:3], whole[:3], strict=True):
            assert torch.equal(mine, every[rows])


@pytest.mark.parametrize("loss", [*CLASSIFIER_LOSSES, "weighted"])
def test_the_loss_is_that_of_soft_targets(loss):
    """Its gradients are: mse differs by a constant."""
    name, smoothing = ("cross_entropy", 0.0) if loss == "weighted" else (loss, 0.1)
    model = convnet(loss=name, label_smoothing=smoothing, cutmix=1.0)
    logits, weights = torch.randn(12, 10, requires_grad=True), torch.arange(1.0, 11)
    model.forward = lambda inputs: logits
    model._weights = weights if loss == "weighted" else None
    torch.manual_seed(5)
    images, targets = torch.rand(12, 1, 28, 28), torch.arange(12) % 10
    state = torch.get_rng_state()
    step = model.train().step((images, targets))
    torch.set_rng_state(state)
    mixed = model.mix(images, targets)
    assert 0.5 < mixed.fraction < 0.9
    assert torch.equal(step["targets"], mixed.targets)
    larger, smaller = (wanted(t, logits, smoothing) for t in (mixed.targets, mixed.others))
    soft = mixed.fraction * larger + (1 - mixed.fraction) * smaller
    expected = {
        "cross_entropy": lambda: F.cross_entropy(logits, soft),
        "bce": lambda: F.binary_cross_entropy_with_logits(logits, soft),
        "mse": lambda: F.mse_loss(logits.softmax(dim=1), soft),
        "weighted": lambda: -(soft * weights * logits.log_softmax(dim=1)).sum(dim=1).mean(),
    }[loss]()
    gradients = [torch.autograd.grad(value, logits)[0] for value in (step["loss"], expected)]
    assert_close(*gradients)
    assert model.eval().step((images, targets))["targets"] is targets  # nothing is mixed
