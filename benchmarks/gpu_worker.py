"""A lecture GAN's step on a GPU: `-m benchmarks.gpu_worker gan|cgan eager|compile|graph [reuse]`.

bf16 autocast, channels_last, and noise drawn on the device, so that nothing waits for the CPU.
"""

import sys
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.bare import gan_step
from benchmarks.pacing import wait_for_device
from benchmarks.steps import BATCH
from benchmarks.systems import lecture_gan, real_batch
from benchmarks.worker import Line
from models import GAN

WARM_UP = 3  # Before a capture, libraries must have chosen their kernels and buffers.


def draws_on(model: GAN, device: str) -> Callable[..., tuple[Tensor, Tensor | None]]:
    """Returns `model.draw` with the device's own generator, which a CUDA graph can replay."""

    def draw(count: int, random: torch.Generator) -> tuple[Tensor, Tensor | None]:
        latents = torch.rand(count, model.latent_dim, device=device)
        if model.num_classes is None:
            return latents, None
        return latents, torch.randint(10, (count,), device=device)

    return draw


def make_step(kind: str, variant: str, reuse: bool, device: str) -> Callable[[], None]:
    """Builds the model and returns its training step."""
    model = lecture_gan(kind, reuse).to(device)
    model.draw = draws_on(model, device)  # type: ignore[method-assign]
    sgd = partial(torch.optim.SGD, lr=5e-4, momentum=0.9, nesterov=True)
    if variant == "compile":
        model.generator.compile()
        model.discriminator.compile()
    # A graph must not read bf16 copies of weights that autocast cached outside of it.
    autocast = partial(torch.autocast, device, torch.bfloat16, cache_enabled=variant != "graph")
    optimizers = [sgd(net.parameters()) for net in (model.discriminator, model.generator)]
    step = gan_step(model, optimizers, autocast)
    images, labels = real_batch(BATCH, device)
    take = partial(step, (images.to(memory_format=torch.channels_last), labels), 0)
    return captured(take) if variant == "graph" else take


def captured(step: Callable[[], None]) -> Callable[[], None]:
    """Captures the step as one CUDA graph: a single launch instead of hundreds."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


if __name__ == "__main__":
    line = Line()
    kind, variant, *rest = sys.argv[1:]
    step = make_step(kind, variant, "reuse" in rest, "cuda")
    step()
    line.serve(step, wait_for_device)
