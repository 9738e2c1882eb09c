"""Muon: an optimizer with orthogonalized steps for weight matrices."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

ROUNDS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of x, x^3 and x^5, by Jordan et al.


class MuonWithAdam(Optimizer):
    """Steps along orthogonalized momentum (Jordan et al. 2024, "Muon: an optimizer for hidden
    layers").

    Momentum U S V' of a matrix becomes U V', so that rare directions are learned as fast as
    frequent ones. A convolution's weights (out, in, h, w) are a matrix (out, in h w). Vectors, such
    as biases and the weights of norms, are optimized by Adam.

    Args:
        params: Parameters.
        lr: Learning rate of matrices.
        momentum: Fraction of the old momentum that a step keeps.
        vector_lr: Learning rate of vectors.
        betas: Adam's two averages, for vectors.
        weight_decay: Matrices shrink by lr times this in a step (Loshchilov and Hutter 2019).
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 0.02,
        momentum: float = 0.95,
        vector_lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        rates = {"lr": lr, "vector_lr": vector_lr, "weight_decay": weight_decay}
        for name, rate in rates.items():
            if rate < 0:
                raise ValueError(f"Invalid {name}: {rate}")
        params = list(params)
        matrices = [parameter for parameter in params if parameter.dim() > 1]
        vectors = [parameter for parameter in params if parameter.dim() < 2]
        groups: list[dict[str, Any]] = [
            {"params": matrices, "lr": lr, "momentum": momentum, "weight_decay": weight_decay},
            {"params": vectors, "lr": vector_lr, "betas": betas},
        ]
        super().__init__(groups, {})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Changes the parameters once; `closure` computes the loss and the gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        matrices, vectors = self.param_groups
        self._step_matrices(**matrices)
        self._step_vectors(**vectors)
        return loss

    def _step_matrices(
        self,
        params: list[Tensor],
        lr: float,
        momentum: float,
        weight_decay: float = 0.0,  # checkpoints of earlier versions have none
        **_: Any,
    ) -> None:
        alike: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
        for weight in params:
            if weight.grad is None:
                continue
            state = self.state[weight]
            if not state:
                state["momentum"] = torch.zeros_like(weight)
            state["momentum"].lerp_(weight.grad, 1 - momentum)
            move = weight.grad.lerp(state["momentum"], momentum).flatten(1)  # Nesterov's
            alike.setdefault((move.shape[0], move.shape[1]), []).append((weight, move))
        for (rows, columns), pairs in alike.items():
            weights, moves = zip(*pairs, strict=True)
            longer = max(1, rows / columns) ** 0.5
            for weight, move in zip(weights, orthogonal(torch.stack(moves)), strict=True):
                weight.mul_(1 - lr * weight_decay).sub_(move.view_as(weight), alpha=lr * longer)

    def _step_vectors(
        self, params: list[Tensor], lr: float, betas: tuple[float, float], **_: Any
    ) -> None:
        for vector in params:
            if vector.grad is None:
                continue
            state = self.state[vector]
            if not state:
                state["step"] = torch.zeros((), dtype=torch.int64)
                state["mean"] = torch.zeros_like(vector)
                state["square"] = torch.zeros_like(vector)
            state["step"] += 1
            count = int(state["step"])
            state["mean"].lerp_(vector.grad, 1 - betas[0])
            state["square"].lerp_(vector.grad.square(), 1 - betas[1])
            mean = state["mean"] / (1 - betas[0] ** count)
            root = (state["square"] / (1 - betas[1] ** count)).sqrt() + 1e-8
            vector.sub_(lr * mean / root)


def orthogonal(matrices: Tensor) -> Tensor:
    """Returns U V' for each matrix U S V' (N, rows, columns), up to a factor of 0.7 to 1.2.

    Newton-Schulz iterations x <- (a + b x x' + c (x x')^2) x. All factors commute, so they are
    multiplied with each other first, at the size of the shorter side.
    """
    a, b, c = COEFFICIENTS
    result = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    if tall := result.shape[1] > result.shape[2]:
        result = result.mT
    square = result @ result.mT
    identity = torch.eye(result.shape[1], dtype=result.dtype, device=result.device)
    factor = identity
    for _ in range(ROUNDS):
        step = a * identity + b * square + c * square @ square
        square = square @ step @ step
        factor = step @ factor
    result = factor @ result
    return result.mT if tall else result
