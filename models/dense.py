"""Dense layers whose float32 products are computed by oneDNN on CPUs of AMD."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SMALLEST = 2**18  # weights; below, a call of Python takes as long as what it saves


class Linear(nn.Linear):
    """`nn.Linear`, where MKL reaches less than half the rate of oneDNN: on AMD's AVX512.

    It adds in another order. The lecture's convolutional network trains 15 % faster.
    """

    def forward(self, input: Tensor) -> Tensor:
        tracing = torch.jit.is_tracing() or torch.compiler.is_compiling()
        if tracing or torch.is_autocast_enabled("cpu") or self.weight.numel() < SMALLEST:
            return super().forward(input)
        kinds = {(t.device.type, t.dtype) for t in (input, self.weight)}
        if input.dim() != 2 or kinds != {("cpu", torch.float32)} or not onednn_is_faster():
            return super().forward(input)
        return Product.apply(input, self.weight) + self.bias


class Product(torch.autograd.Function):
    """A B^T of matrices A (M, K) and B (N, K), with derivatives of every order."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (a, b), (gradient,), (for_a, for_b) = ctx.saved_tensors, gradients, ctx.needs_input_grad
        for_a = Product.apply(gradient, b.T) if for_a else None
        return for_a, Product.apply(gradient.T, a.T) if for_b else None


@cache
def onednn_is_faster() -> bool:
    """Returns True on Linux on CPUs of AMD with AVX512."""
    cpu = Path("/proc/cpuinfo")
    is_amd = cpu.is_file() and "AuthenticAMD" in cpu.read_text()
    known = hasattr(torch.ops.mkldnn, "_linear_pointwise")  # of torch, but not documented
    return known and is_amd and torch.backends.cpu.get_cpu_capability() == "AVX512"
