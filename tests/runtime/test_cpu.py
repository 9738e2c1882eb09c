"""Freed memory is used again, and subnormal numbers become 0 without changing a weight."""

import resource
import subprocess
import sys

import pytest
import torch

from runtime.cpu import take_subnormal_numbers_as_zero
from tests.conftest import ROOT

STEPS = """
import resource, torch
from runtime.cpu import keep_freed_memory
assert not {keep} or keep_freed_memory()
def step():
    torch.ones(2**24) + torch.ones(2**24)  # 64 MB each
step()
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_freed_memory_is_used_again() -> None:
    def page_faults(keep: bool) -> int:
        code = STEPS.format(keep=keep)
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    pages = 5 * 3 * 2**26 // resource.getpagesize()
    assert page_faults(keep=True) < pages / 50
    assert page_faults(keep=False) > page_faults(keep=True)


SUBNORMAL = """
import torch
from runtime.trainer import LadderTrainer
torch.set_num_threads(2)
LadderTrainer(accelerator="cpu", logger=False, enable_checkpointing=False, precision="32-true")
print(int((torch.full((2**22,), 2e-38) / 4).count_nonzero()))
"""


def test_a_trainer_takes_subnormal_numbers_as_zero_in_every_thread() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SUBNORMAL], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == "0"


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
