"""Layers of classifiers that compute what torch's layers compute, in less time on a CPU."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.distributed import draw_local, is_distributed
from models.layers import BatchAware

MIN_WEIGHTS = 2**18  # weights; below, a call of Python takes as long as what it saves


class Linear(nn.Linear):
    """`nn.Linear`, where MKL reaches less than half the rate of oneDNN: on AMD's AVX512.

    It adds in another order. A float32 step of the lecture's convolutional network takes a third
    less time.
    """

    def forward(self, input: Tensor) -> Tensor:
        tracing = torch.jit.is_tracing() or torch.compiler.is_compiling()
        if tracing or torch.is_autocast_enabled("cpu") or self.weight.numel() < MIN_WEIGHTS:
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


class Dropout(BatchAware, nn.Dropout):
    """Like `nn.Dropout`, but samples its mask with `torch.rand`, three times faster on a CPU.

    With several processes, each takes its rows of the global batch's mask.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, ...) -> the same shape; each value is kept with probability 1 - p."""
        alone_on_gpu = inputs.device.type != "cpu" and not is_distributed()
        if not self.training or self.p == 1 or alone_on_gpu:
            return super().forward(inputs)
        in_channels_last = inputs.dim() == 4 and inputs.stride(1) == 1
        # As `inputs` are stored: a compiled `uniform_` would ignore a memory format.
        shape = inputs.movedim(1, -1).shape if in_channels_last else inputs.shape
        drawn = draw_local(torch.rand, *shape, joined=self.joined, device=inputs.device)
        keep = (drawn.movedim(-1, 1) if in_channels_last else drawn) >= self.p
        return inputs * (keep.to(inputs.dtype) / (1 - self.p))


class MaxPool2d(nn.MaxPool2d):
    """Like `nn.MaxPool2d`, whose backward pass on a CPU adds up one value at a time.

    These windows do not overlap, so no additions are needed: the gradient of each window goes to
    the position of its maximum. `max_unpool2d` does this in half the time.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H // size, W // size)."""
        learns = torch.is_grad_enabled() and images.requires_grad
        strict = torch.are_deterministic_algorithms_enabled()  # refuses `max_unpool2d`
        if strict or not learns or images.device.type != "cpu":
            return super().forward(images)
        return _MaxPool.apply(images, self.kernel_size)


class _MaxPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, size: int) -> Tensor:
        pooled, positions = torch.ops.aten.max_pool2d_with_indices(images, [size, size])
        ctx.save_for_backward(positions)
        ctx.shape = images.shape[2:]
        return pooled

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (positions,) = ctx.saved_tensors
        with torch.autocast("cpu", enabled=False):  # it would make float32 of bf16 here
            return torch.ops.aten.max_unpool2d(gradient, positions, ctx.shape), None
