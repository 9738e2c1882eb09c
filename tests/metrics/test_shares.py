"""Two processes with unequal shares find what one does."""

import warnings
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from metrics import GeneratorQuality
from tests.metrics.samples import CLASSES, FEATURES, add, sets

pytestmark = pytest.mark.ddp


def make() -> GeneratorQuality:
    return GeneratorQuality(FEATURES, CLASSES, max_samples=200)


def share(_: int, rank: int, folder: Path) -> None:
    """What one rank adds: a third or two thirds of the generated, all or no training samples."""
    store = f"file://{folder}/store"
    patience = timedelta(seconds=60)
    dist.init_process_group("gloo", store, patience, rank=rank, world_size=2)
    quality = make()
    (generated, drawn), (train_set, train), (test_set, test) = sets(quality)
    add(generated, drawn, drawn.numbers[(drawn.numbers % 3 == 0) == (rank == 0)])
    add(test_set, test, test.numbers[90:] if rank else test.numbers[:90])
    if rank:
        add(train_set, train)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics: nothing was added here
        found = asdict(quality.compute()) | {"bank": generated.compute()["bank"]}
        torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_ranks_are_one_process_to_rounding(tmp_path: Path) -> None:
    other = mp.spawn(share, (1, tmp_path), nprocs=1, join=False)
    share(0, 0, tmp_path)
    while not other.join():
        pass
    quality = make()
    for samples, values in sets(quality):
        add(samples, values)
    one = asdict(quality.compute())
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=False)
        assert torch.equal(found["bank"], quality.generated.compute()["bank"])
        for name in ("counts", "class_counts"):
            assert found[name] == one[name]
        for name in ("scores", "floor"):
            assert found[name] == pytest.approx(one[name], rel=1e-9, abs=1e-9)
        for name in ("class_scores", "class_floor"):
            for score, values in one[name].items():
                assert found[name][score] == pytest.approx(values, rel=1e-9, abs=1e-9)
