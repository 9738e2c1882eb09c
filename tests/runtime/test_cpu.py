"""Freed memory is used again, and subnormal numbers become 0 without changing a weight."""

import resource
import subprocess
import sys

import pytest
import torch

from runtime.cpu import take_subnormal_numbers_as_zero
from tests.conftest import ROOT

SCRIPT = """
import resource, torch
from runtime.trainer import LadderTrainer
def page_faults():
    torch.ones(10**7)  # 40 MB, more than malloc ever keeps by itself
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(10**7)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
torch.set_num_threads(1)  # starts none
found = [page_faults()]
torch.set_num_threads(2)
LadderTrainer(accelerator="cpu", logger=False, enable_checkpointing=False, precision="32-true")
subnormal = int((torch.full((2**22,), 2e-38) / 4).count_nonzero())
print(page_faults(), *found, subnormal)
"""


@pytest.fixture(scope="module")
def found() -> list[int]:
    """Page faults of a process with a Trainer and before it, and subnormal numbers in it."""
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()[-3:]]


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_a_trainer_uses_freed_memory_again(found: list[int]) -> None:
    pages = 5 * 4 * 10**7 // resource.getpagesize()
    assert found[0] < pages / 50
    assert found[1] > found[0]


def test_a_trainer_takes_subnormal_numbers_as_zero_in_every_thread(found: list[int]) -> None:
    assert found[2] == 0


@pytest.mark.parametrize("eps", [1e-8, 1e-7])
def test_weights_are_the_same_to_the_bit_where_moments_vanish(eps: float) -> None:
    """Adam takes 10 steps with gradients and 2,000 without, so its moments end below 1e-38."""

    def train() -> tuple[torch.Tensor, torch.Tensor]:
        random = torch.Generator().manual_seed(0)
        weight = torch.randn(1000, generator=random).requires_grad_()
        optimizer = torch.optim.Adam([weight], eps=eps, fused=True)
        for step in range(2010):
            weight.grad = torch.randn(1000, generator=random) if step < 10 else torch.zeros(1000)
            optimizer.step()
        return weight.detach(), optimizer.state[weight]["exp_avg"]

    plain, subnormal = train()
    take_subnormal_numbers_as_zero()
    flushed, zero = train()
    torch.set_flush_denormal(False)
    smallest = torch.finfo(torch.float32).tiny
    assert ((subnormal != 0) & (subnormal.abs() < smallest)).any()
    assert (zero == 0).all()
    assert torch.equal(plain, flushed)
