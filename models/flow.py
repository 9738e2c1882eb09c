"""Flow matching: straight paths from noise to images, and a network that follows them."""

from collections import deque
from collections.abc import Callable, Iterator
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from models.distributed import share_of
from models.generative import Generative
from models.layers import full_precision
from models.training import Averaging, OneNetwork
from models.unet import UNet
from runtime.errors import UserError
from runtime.ranges import NonNegativeFloat, Positive, PositiveFloat, Probability, Share

NEAREST = 0.05  # smallest 1 - t that the loss divides by
FlowNetwork = Callable[[tuple[int, ...], int], nn.Module]  # of (image_shape, num_classes)


class Flow(OneNetwork, Generative):
    """Learns the velocity of points that move from noise to images on straight lines.

    A point at time t is x_t = (1 - t) noise + t image, so it moves with image - noise (Lipman et
    al. 2023; Liu et al. 2023). The network gets x_t, t and the class and predicts the clean image,
    from which the velocity follows: (clean - x_t) / (1 - t) (Li and He 2025, "Back to basics").
    To draw an image is to follow the velocity from t = 0 to 1.

    Args:
        image_shape: (C, H, W) of the data's images.
        num_classes: Number of classes; None: not told.
        network: From (image_shape, num_classes or 0) to a network that is called with points
            (B, C, H, W), times (B,) and one-hot classes (B, num_classes), all 0: not told.
        conditional: Tell the class, if the data have any.
        steps: Steps of the solver from noise to image.
        solver: `euler`, one evaluation of the network a step, or `heun`, two but in the last.
        guidance: How far to go beyond what the class adds (Ho and Salimans 2022); 0: not at all.
        guided: Times between which guidance acts; amid noise it costs variety (Kynkäänniemi et al.
            2024).
        untold: Share of the training images whose class is not told, which guidance needs.
        black: Values below it are drawn as 0, because a flow leaves a haze on a black background.
        time_mean: Mean of the normal number whose sigmoid is a training image's time.
        time_spread: Its standard deviation (Esser et al. 2024).
        average: Moving average of the weights, to draw with.
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
        guided: tuple[Probability, Probability] = (0.0, 1.0),
        untold: Share = 0.0,
        black: Share = 0.0,
        time_mean: float = 0.0,
        time_spread: PositiveFloat = 1.0,
        average: Averaging = Averaging(decay=0.999),
        **training: Any,
    ) -> None:
        super().__init__(average, **training)
        size = prod(image_shape or ())
        self.set_shapes(image_shape, size, num_classes if conditional else None)
        if guidance and not (self.num_classes and untold):
            raise UserError(
                "model.guidance needs data with classes, and model.untold above 0, such as 0.1, in "
                "training: set it, or leave guidance at 0"
            )
        self.steps, self.solver, self.untold = steps, solver, untold
        self.guidance, self.guided, self.black = guidance, guided, black
        self.time_mean, self.time_spread = time_mean, time_spread
        trained = network(image_shape, self.num_classes or 0)
        self.train_network(trained)

    sampler = OneNetwork.evaluated

    def loss(self, images: Tensor, labels: Tensor | None, noise: Tensor, times: Tensor) -> Tensor:
        """Mean squared error of the velocity at points between noise and images, both (B, ...).

        The target's noise part cancels: what remains is the error of the clean image over 1 - t.
        """
        images, along = 2 * images - 1, times.view(-1, *[1] * (images.dim() - 1))
        clean = self.active(torch.lerp(noise, images, along), times, self.told(labels, images))
        return ((full_precision(clean) - images) / (1 - along).clamp(min=NEAREST)).square().mean()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        count, device = len(images), images.device
        noise = share_of(torch.randn, count, *self.image_shape, device=device)
        times = share_of(torch.randn, count, device=device) * self.time_spread + self.time_mean
        vectors = self.told(labels, images)
        if self.untold:
            hidden = share_of(torch.rand, count, device=device) < self.untold
            vectors = vectors * ~hidden[:, None]
        loss = self.loss(images, vectors, noise, times.sigmoid())
        self.log_means({"loss": loss.detach()})
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Logs the loss with the same noise and evenly spread times in each epoch."""
        images, labels = batch
        noise, times = self.evaluation_noise(images, batch_idx)
        loss = self.loss(images, labels, noise.view(images.shape), times)
        self.log_means_of_examples({"val/loss": loss}, len(images))

    def velocity(self, points: Tensor, time: float, told: Tensor) -> Tensor:
        """Returns the velocity of points (B, C, H, W) at a time, told the classes (B, K)."""
        here, told = points.to(self.dtype), told.to(self.dtype)
        times = here.new_full(points.shape[:1], time)
        clean = full_precision(self.sampler(here, times, told))
        first, last = self.guided
        if self.guidance and first <= time <= last:
            untold = full_precision(self.sampler(here, times, torch.zeros_like(told)))
            clean = clean + self.guidance * (clean - untold)
        return (clean - points) / (1 - time)

    def path(self, latents: Tensor, labels: Tensor | None = None) -> Iterator[Tensor]:
        """Noise (B, latent_dim) -> itself and each step to images in [-1, 1], (B, C, H, W)."""
        points = full_precision(latents.to(self.dtype)).view(-1, *self.image_shape)
        told = self.told(labels, points)
        yield points
        for step in range(self.steps):
            time, after = step / self.steps, (step + 1) / self.steps
            first = self.velocity(points, time, told)
            there = points + (after - time) * first
            if self.solver == "heun" and step + 1 < self.steps:  # at t = 1 there is no velocity
                mean = (first + self.velocity(there, after, told)) / 2
                there = points + (after - time) * mean
            points = there
            yield points

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Noise (B, latent_dim), classes (B,) or (B, K) -> images (B, C, H, W) in [0, 1]."""
        (points,) = deque(self.path(latents, labels), maxlen=1)  # the last ones
        images = ((points + 1) / 2).clamp(0, 1)
        return images.masked_fill(images < self.black, 0)
