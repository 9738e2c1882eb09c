"""Two processes with unequal shares compute the scores of one process."""

import warnings
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from metrics.scores import GanTrain
from tests import ranks
from tests.metrics.samples import FROM_FEATURES, add, filled, make, sets

pytestmark = pytest.mark.ddp
SCORES = [*FROM_FEATURES, GanTrain(steps=5)]


def share(folder: Path) -> None:
    """Adds a rank's share: a third or two thirds of the generated, all or no training samples."""
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    rank = dist.get_rank()
    quality = make(SCORES)
    (generated, drawn), (train_set, train), (test_set, test) = sets(quality)
    add(generated, drawn, drawn.numbers[(drawn.numbers % 3 == 0) == (rank == 0)])
    add(test_set, test, test.numbers[90:] if rank else test.numbers[:90])
    if rank:
        add(train_set, train)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics: nothing was added here
        found = asdict(quality.compute())
        found |= {name: generated.compute()[name] for name in ("bank", "images")}
        torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_are_one_process_to_rounding(tmp_path: Path) -> None:
    processes = ranks.start(2, lambda: share(tmp_path), tmp_path)
    assert ranks.end(processes, 120) == [0, 0], (tmp_path / "0.log").read_text()[-3000:]
    quality = filled(SCORES)
    one = asdict(quality.compute())
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=False)
        gathered = quality.generated.compute()
        assert torch.equal(found["bank"], gathered["bank"])
        for tensor, expected in zip(found["images"], gathered["images"], strict=True):
            assert torch.equal(tensor, expected)
            assert tensor.dtype == expected.dtype
        for name in ("counts", "class_counts"):
            assert found[name] == one[name]
        for name in ("scores", "floor"):
            assert found[name] == pytest.approx(one[name], rel=1e-9, abs=1e-9)
        for name in ("class_scores", "class_floor"):
            for score, values in one[name].items():
                assert found[name][score] == pytest.approx(values, rel=1e-9, abs=1e-9)
