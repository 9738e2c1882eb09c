"""Flow matching: straight paths from noise to images, and a network that follows them."""

from collections.abc import Callable
from math import prod
from typing import Literal

import torch
import torch.nn.functional as F
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn

from models.averaging import Averaging
from models.base import derive_seed
from models.distributed import own_rows, share_of
from models.generative import Generative
from models.layers import full_precision
from models.one_network import OneNetwork
from models.schedule import Schedule
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
        optimizer: From parameters to an optimizer.
        schedule: The learning rate over the run.
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
        optimizer: OptimizerCallable = torch.optim.Adam,
        schedule: Schedule = Schedule(),
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.num_classes = (num_classes or None) if conditional else None
        if guidance and not (self.num_classes and untold):
            raise UserError(
                "model.guidance needs data with classes, and model.untold above 0, such as 0.1, in "
                "training: set it, or leave guidance at 0"
            )
        self.image_shape, self.latent_dim = self.checked(image_shape), prod(image_shape)
        self.steps, self.solver, self.untold = steps, solver, untold
        self.guidance, self.guided, self.black = guidance, guided, black
        self.time_mean, self.time_spread = time_mean, time_spread
        trained = network(image_shape, self.num_classes or 0)
        self.train_network(trained, average, optimizer, schedule)

    sampler = OneNetwork.evaluated

    def loss(self, images: Tensor, labels: Tensor | None, noise: Tensor, times: Tensor) -> Tensor:
        """Mean squared error of the velocity at points between noise and images, both (B, ...).

        The target's noise part cancels: what remains is the error of the clean image over 1 - t.
        """
        images, along = 2 * images - 1, times.view(-1, *[1] * (images.dim() - 1))
        network = self.network if self.training else self.sampler
        clean = network(torch.lerp(noise, images, along), times, self.told(labels, images))
        return ((full_precision(clean) - images) / (1 - along).clamp(min=NEAREST)).square().mean()

    def told(self, labels: Tensor | None, images: Tensor) -> Tensor:
        """Returns classes (B,), or mixtures of them (B, K), as vectors (B, K); None: zeros."""
        if labels is None or self.num_classes is None:
            return images.new_zeros(images.shape[0], self.num_classes or 0)
        if not labels.is_floating_point():
            labels = F.one_hot(labels, self.num_classes)
        return labels.to(images.dtype)

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
        self.count_examples(count)
        self.log_means({"loss": loss.detach()})
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Logs the loss with the same noise and evenly spread times in each epoch."""
        images, labels = batch
        total, own = own_rows(images)
        random = torch.Generator().manual_seed(derive_seed(0, batch_idx))
        noise = torch.randn(total, *images.shape[1:], generator=random)[own].to(images)
        times = ((torch.arange(total) + 0.5) / total)[own].to(images)
        loss = self.loss(images, labels, noise, times)
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

    def path(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Noise (B, latent_dim) -> its way to images in [-1, 1], (steps + 1, B, C, H, W)."""
        points = full_precision(latents.to(self.dtype)).view(-1, *self.image_shape)
        told, found = self.told(labels, points), [points]
        for step in range(self.steps):
            time, after = step / self.steps, (step + 1) / self.steps
            first = self.velocity(points, time, told)
            there = points + (after - time) * first
            if self.solver == "heun" and step + 1 < self.steps:  # at t = 1 there is no velocity
                mean = (first + self.velocity(there, after, told)) / 2
                there = points + (after - time) * mean
            points = there
            found.append(points)
        return torch.stack(found)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Noise (B, latent_dim), classes (B,) or (B, K) -> images (B, C, H, W) in [0, 1]."""
        images = ((self.path(latents, labels)[-1] + 1) / 2).clamp(0, 1)
        return images.masked_fill(images < self.black, 0)
