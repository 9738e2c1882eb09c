"""Dense layers whose float32 products are computed by oneDNN on CPUs of AMD."""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from runtime.cpu import cpu_entry, cpu_flags

SMALLEST = 2**18  # weights; below, a call of Python takes as long as what it saves


class Linear(nn.Linear):
    """`nn.Linear`, with faster float32 products on CPUs of AMD that have AVX512.

    torch multiplies float32 matrices by MKL, which there reaches less than half the rate of oneDNN,
    which torch has for convolutions. Both compute in float32 and add in another order. In all other
    cases this is `nn.Linear`, also when the network is exported.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self._suits(input):
            return super().forward(input)
        products = Product.apply(input, self.weight)
        return products if self.bias is None else products + self.bias

    def _suits(self, inputs: Tensor) -> bool:
        if torch.jit.is_tracing() or torch.compiler.is_compiling():
            return False  # before sizes, which a trace records
        return (
            self.weight.numel() >= SMALLEST
            and inputs.dim() == 2
            and len(inputs) > 0
            and inputs.dtype == self.weight.dtype == torch.float32
            and inputs.device.type == self.weight.device.type == "cpu"
            and not torch.is_autocast_enabled("cpu")
            and onednn_is_faster()
        )


class Product(torch.autograd.Function):
    """A B^T of matrices A (M, K) and B (N, K), with derivatives of every order."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return multiply(a, b)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (a, b), (gradient,) = ctx.saved_tensors, gradients
        for_a, for_b = ctx.needs_input_grad
        return (
            Product.apply(gradient, b.T) if for_a else None,
            Product.apply(gradient.T, a.T) if for_b else None,
        )


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """Computes A B^T of matrices (M, K) and (N, K) by oneDNN."""
    return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")


@cache
def onednn_is_faster() -> bool:
    """Returns True on CPUs of AMD with AVX512, if this torch has oneDNN's products."""
    known = hasattr(torch.ops.mkldnn, "_linear_pointwise")  # of torch, but not documented
    return known and cpu_entry("vendor_id") == "AuthenticAMD" and "avx512f" in cpu_flags()
