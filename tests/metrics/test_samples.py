"""Samples are kept in the order of their numbers, by any number of processes."""

from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from metrics.report import compute_report
from metrics.samples import KeptSamples
from tests import ranks
from tests.metrics.samples import CLASSES, FEATURES, LIGHT, SHAPE, draw, keep, sets


def test_samples_are_ordered_by_number_and_reset():
    samples, kept = draw(100, 0), KeptSamples(CLASSES, labels=True, images=True)
    for _ in range(2):
        keep(kept, samples, torch.randperm(100), batch=9)
        found = kept.compute()
        for name in ("features", "predicted", "labels", "images"):
            assert torch.equal(getattr(found, name), getattr(samples, name))
        assert (found.num_classes, len(found)) == (CLASSES, 100)
        kept.reset()
    keep(kept, samples, torch.tensor([7]))
    assert kept.compute().features.shape == (1, FEATURES)


def test_only_what_is_wanted_is_kept_and_must_be_given():
    kept = KeptSamples(CLASSES)
    keep(kept, draw(10, 0), torch.arange(10))
    assert kept.compute().labels is None
    assert kept.compute().images is None
    with pytest.raises(AssertionError, match="labels are missing"):
        keep(KeptSamples(CLASSES, labels=True), draw(10, 0, labeled=False), torch.arange(10))


def share(folder: Path) -> None:
    """Adds a rank's share: a third or two thirds of the generated, all or no training samples."""
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    rank, (generated, train, test) = dist.get_rank(), sets()
    rows = torch.arange(300)
    shares = [
        (generated, rows[(rows % 3 == 0) == (rank == 0)]),
        (train, torch.arange(400)[: 400 * rank]),  # an empty batch on rank 0
        (test, torch.arange(350)[90:] if rank else torch.arange(90)),
    ]
    found = []
    for samples, own in shares:
        kept = KeptSamples(CLASSES, labels=True, images=True)
        keep(kept, samples, own)
        found.append(kept.compute())
    report = asdict(compute_report(LIGHT, *found))
    torch.save((report, found[0].images, found[1].features), folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.ddp
def test_two_processes_keep_what_one_keeps(tmp_path):
    processes = ranks.start(2, lambda: share(tmp_path), tmp_path)
    assert ranks.end(processes, 120) == [0, 0], (tmp_path / "0.log").read_text()[-3000:]
    generated, train, test = sets()
    for rank in range(2):
        report, images, features = torch.load(tmp_path / f"{rank}.pt")
        assert report == asdict(compute_report(LIGHT, generated, train, test))
        assert images.shape == (300, *SHAPE)
        assert torch.equal(images, generated.pairs()[0])
        assert torch.equal(features, train.features)
