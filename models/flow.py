"""Flow matching: straight paths from noise to images, and a network that follows them."""

from collections import deque
from collections.abc import Callable, Iterator
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan

from models.distributed import draw_local
from models.generative import Generative
from models.layers import full_precision
from models.training import EMAOptions, OneNetwork
from models.unet import UNet
from runtime.errors import UserError
from runtime.ranges import Fraction, NonNegativeFloat, Positive, PositiveFloat, Probability

MIN_LEFT = 0.05  # smallest 1 - t that the loss divides by
FlowNetwork = Callable[[tuple[int, ...], int], nn.Module]  # of (image_shape, num_classes)


class Flow(OneNetwork, Generative):
    """Learns the velocity of points that move from noise to images on straight lines.

    A point at time t is x_t = (1 - t) noise + t image, so it moves with image - noise (Lipman et
    al. 2023; Liu et al. 2023). The network gets x_t, t and the class and predicts the clean image,
    from which the velocity follows: (clean - x_t) / (1 - t) (Li and He 2025, "Back to basics").
    Sampling follows the velocity from t = 0 to t = 1.

    Args:
        image_shape: (C, H, W) of the data's images.
        num_classes: Number of classes; None: unconditional.
        network: From (image_shape, num_classes or 0) to a network that is called with points
            (B, C, H, W), times (B,) and class vectors (B, num_classes), which are 0 without a
            class.
        conditional: Give the class to the model, if the data have classes.
        steps: Steps of the solver from noise to image.
        solver: `euler`, one evaluation of the network a step, or `heun`, two but in the last.
        guidance: Weight w of classifier-free guidance (Ho and Salimans 2022); 0: none.
        guidance_interval: First and last time at which guidance acts. At early times it reduces
            variety (Kynkäänniemi et al. 2024).
        class_dropout: Fraction of the training images without their class; guidance needs some.
        black_threshold: Pixel values below it become 0, because a flow does not reach exact black.
        time_mean: Mean of the logit-normal distribution of training times (Esser et al. 2024).
        time_std: Its standard deviation.
        average: Exponential moving average (EMA) of the weights, to sample with.
        **training: As for `OneNetwork`.
    """

    steps: int

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int | None = None,
        network: FlowNetwork = UNet,
        conditional: bool = True,
        steps: Positive = 10,
        solver: Literal["euler", "heun"] = "heun",
        guidance: NonNegativeFloat = 0.0,
        guidance_interval: tuple[Probability, Probability] = (0.0, 1.0),
        class_dropout: Fraction = 0.0,
        black_threshold: Fraction = 0.0,
        time_mean: float = 0.0,
        time_std: PositiveFloat = 1.0,
        average: EMAOptions = EMAOptions(decay=0.999),
        **training: Any,
    ) -> None:
        super().__init__(average, **training)
        size = prod(image_shape or ())
        self.set_shapes(image_shape, size, num_classes if conditional else None)
        if guidance and not (self.num_classes and class_dropout):
            raise UserError(
                "model.guidance needs data with classes, and model.class_dropout above 0, such as "
                "0.1, in training: set it, or leave guidance at 0"
            )
        self.steps, self.solver, self.class_dropout = steps, solver, class_dropout
        self.guidance, self.guidance_interval = guidance, guidance_interval
        self.black_threshold = black_threshold
        self.time_mean, self.time_std = time_mean, time_std
        trained = network(image_shape, self.num_classes or 0)
        self.set_network(trained)

    def loss(self, images: Tensor, labels: Tensor | None, noise: Tensor, times: Tensor) -> Tensor:
        """Mean squared error of the velocity at points between noise and images, both (B, ...).

        The target's noise part cancels: what remains is the error of the clean image over 1 - t.
        """
        images, along = 2 * images - 1, times.view(-1, *[1] * (images.dim() - 1))
        clean = self.active(
            torch.lerp(noise, images, along), times, self.class_vectors(labels, images)
        )
        return ((full_precision(clean) - images) / (1 - along).clamp(min=MIN_LEFT)).square().mean()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        count, device = len(images), images.device
        noise = draw_local(torch.randn, count, *self.image_shape, device=device)
        times = draw_local(torch.randn, count, device=device) * self.time_std + self.time_mean
        class_vectors = self.class_vectors(labels, images)
        if self.class_dropout:
            dropped = draw_local(torch.rand, count, device=device) < self.class_dropout
            class_vectors = class_vectors * ~dropped[:, None]
        loss = self.loss(images, class_vectors, noise, times.sigmoid())
        self.log_means({"loss": loss.detach()})
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Logs the loss with the same noise and evenly spread times in each epoch."""
        images, labels = batch
        noise, times = self.evaluation_noise(images, batch_idx)
        loss = self.loss(images, labels, noise.view(images.shape), times)
        self.log_means_of_examples({"val/loss": loss}, len(images))

    def velocity(self, points: Tensor, time: float, class_vectors: Tensor) -> Tensor:
        """Returns the velocity of points (B, C, H, W) at a time, given class vectors (B, K)."""
        return self._velocity(points, time, self.guidance_at(time), class_vectors)

    def guidance_at(self, time: float) -> float:
        """Returns the weight of guidance at a time: 0 outside its interval."""
        first, last = self.guidance_interval
        return self.guidance if first <= time <= last else 0.0

    def _velocity(
        self,
        points: Tensor,
        time: float | Tensor,
        guidance: float | Tensor,
        class_vectors: Tensor,
    ) -> Tensor:
        here, class_vectors = points.to(self.dtype), class_vectors.to(self.dtype)
        times = here.new_zeros(points.shape[:1]) + time
        clean = full_precision(self.eval_network(here, times, class_vectors))
        if isinstance(guidance, Tensor) or guidance:
            unconditional = full_precision(
                self.eval_network(here, times, torch.zeros_like(class_vectors))
            )
            clean = clean + guidance * (clean - unconditional)
        return (clean - points) / (1 - time)

    def networks(
        self, latents: Tensor, labels: Tensor | None, images: Tensor
    ) -> dict[str, tuple[nn.Module, Callable[[], Any]]]:
        network, times = self.eval_network, images.new_zeros(len(images))

        def compute() -> Any:
            return network(images, times, self.class_vectors(labels, images))

        return {"network": (network, compute)}

    def path(self, latents: Tensor, labels: Tensor | None = None) -> Iterator[Tensor]:
        """Noise (B, latent_dim) -> itself and each step to images in [-1, 1], (B, C, H, W)."""
        points = full_precision(latents.to(self.dtype)).view(-1, *self.image_shape)
        class_vectors = self.class_vectors(labels, points)
        yield points
        for step in range(self.steps):
            time, after = step / self.steps, (step + 1) / self.steps
            first = self.velocity(points, time, class_vectors)
            there = points + (after - time) * first
            if self.solver == "heun" and step + 1 < self.steps:  # at t = 1 there is no velocity
                mean = (first + self.velocity(there, after, class_vectors)) / 2
                there = points + (after - time) * mean
            points = there
            yield points

    def end_of_path(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Returns the last points of `path` by one `scan`: a graph with one body for all steps.

        Each row of the scan evaluates the network once. Heun's second evaluation of a step starts
        again at the points of the first, with the mean of both velocities.
        """
        points = full_precision(latents.to(self.dtype)).view(-1, *self.image_shape)
        class_vectors = self.class_vectors(labels, points)
        rows = []
        for step in range(self.steps):
            time, after = step / self.steps, (step + 1) / self.steps
            corrects = self.solver == "heun" and step + 1 < self.steps
            rows.append((time, self.guidance_at(time), after - time, 0.0, float(not corrects)))
            if corrects:
                rows.append((after, self.guidance_at(after), after - time, 0.5, 1.0))

        def evaluate(state: tuple[Tensor, ...], row: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
            start, first, here = state
            time, guidance, length, share, ends = row.unbind()
            second = self._velocity(here, time, guidance, class_vectors)
            there = start + length * torch.lerp(second, first, share)
            return (torch.where(ends > 0, there, start), second, there), row.sum()

        state = points, torch.zeros_like(points), points.clone()
        (points, _, _), _ = scan(evaluate, state, torch.tensor(rows))
        return points

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Noise (B, latent_dim), classes (B,) or (B, K) -> images (B, C, H, W) in [0, 1]."""
        if torch.compiler.is_exporting():
            points = self.end_of_path(latents, labels)
        else:
            (points,) = deque(self.path(latents, labels), maxlen=1)  # the last ones
        images = ((points + 1) / 2).clamp(0, 1)
        return images.masked_fill(images < self.black_threshold, 0)
