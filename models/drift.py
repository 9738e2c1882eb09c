"""Drifting: a generator whose images move toward real ones and away from each other."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.distributed import all_gather
from models.gan.networks import GeneratorCallable, ModernGenerator
from models.generative import Generative
from models.layers import full_precision
from models.training import EMAOptions, OneNetwork
from runtime.errors import UserError
from runtime.ranges import NonNegative, NonNegativeFloat, Positive, PositiveFloat

MIN_REAL_IMAGES = 4  # real images of a class in a batch
GUIDANCE_IMAGES = 64  # real images of all classes that guidance compares with
WINDOW = 7  # pixels, height and width of a window
# Logarithm of a weight: less is no normal float32, and a hundred times as slow
MIN_LOG_WEIGHT = -80.0


class Drift(OneNetwork, Generative):
    """A generator alone, one evaluation an image (Deng et al. 2026, "Generative modeling via
    drifting").

    In each step every generated image x gets a direction V(x): toward the real images of its
    class, weighted by their distance, and away from the generated ones. The generator learns to
    generate x + V(x) instead of x. If generated images have the distribution of real ones, V is 0.

    Args:
        image_shape: (C, H, W) of the data's images.
        num_classes: Number of classes; None: unconditional.
        generator: From (input_dim, image_shape) to the generator.
        conditional: Give the class to the model, if the data have classes.
        latent_dim: Size of the noise that the generator turns into an image.
        generated: Images that are generated in a step, of all classes and processes together.
        temperatures: How fast weights fall with distance, as fractions of the mean distance.
        scales: Compare whole images, downsampled by these factors; 1: at full size.
        windows: Number of windows of 7 x 7 pixels that are compared as well, at new random places
            in each step. Whole images with different textures are all equally far from each other.
        guidance: Strength of classifier-free guidance: real images of all classes repel as well,
            with this weight for each generated image (equations 15 and 16 of the paper); 0: none.
        average: Exponential moving average (EMA) of the weights, to sample with.
        **training: As for `OneNetwork`.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int | None = None,
        generator: GeneratorCallable = ModernGenerator,
        conditional: bool = True,
        latent_dim: Positive = 100,
        generated: Positive = 320,
        temperatures: Sequence[PositiveFloat] = (0.01, 0.03, 0.1),
        scales: Sequence[Positive] = (1,),
        windows: NonNegative = 0,
        guidance: NonNegativeFloat = 0.0,
        average: EMAOptions = EMAOptions(decay=0.999),
        **training: Any,
    ) -> None:
        super().__init__(average, **training)
        self.set_shapes(image_shape, latent_dim, num_classes if conditional else None)
        if guidance and self.num_classes is None:
            raise UserError(
                "model.guidance needs data with classes and model.conditional true: set it to 0"
            )
        if len(self.image_shape) < 3 and (windows or max(scales, default=1) > 1):
            raise UserError(
                "model.scales and model.windows compare parts of images, and the data are points: "
                "leave them out"
            )
        self.generated, self.temperatures, self.scales = generated, temperatures, scales
        self.windows, self.guidance = windows, guidance
        network = generator(latent_dim + (self.num_classes or 0), self.image_shape)
        self.set_network(network)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents (B, latent_dim), classes (B,) or (B, K) -> images (B, C, H, W) in [0, 1]."""
        return self.generate(self.eval_network, latents, labels).clamp(0, 1)

    def generate(self, network: nn.Module, latents: Tensor, labels: Tensor | None) -> Tensor:
        """Generates images with a network: the one in training, or its average."""
        return network(self.append_class_vectors(latents.to(self.dtype), labels))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, real_labels = batch
        count = max(1, self.generated // self.trainer.world_size)
        random = self.batch_rng(batch_idx)
        latents, labels = self.local_latents(count, random)
        places = torch.rand(self.windows, 2, generator=random).tolist()
        fake = full_precision(self.generate(self.network, latents, labels))
        classes = None if labels is None else (all_gather(labels), all_gather(real_labels))
        loss, size = fake.new_zeros(()), fake.new_zeros(())
        views = [(1.0, partial(shrunk, scale=scale)) for scale in self.scales]
        views += [(1 / self.windows, partial(window, place=place)) for place in places]
        for part, view in views:
            seen = view(fake)
            shift, moved = self.field(all_gather(seen.detach()), all_gather(view(images)), classes)
            own = shift[self.global_rank * count :][:count]
            loss = loss + part * F.mse_loss(seen, seen.detach() + own)
            size = size + part * moved
        self.log_means({"loss": loss.detach(), "drift": size})
        return loss

    def field(
        self, fakes: Tensor, reals: Tensor, classes: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """Returns the directions of generated points and their mean length, class by class.

        Args:
            fakes: (N, D).
            reals: (M, D).
            classes: Of both, (N,) and (M,); None: all are of one.

        Raises:
            UserError: A class has too few real points.
        """
        if classes is None:
            return drift(fakes, require_enough_images(reals), fakes, self.temperatures, itself=True)
        others = reals[: GUIDANCE_IMAGES if self.guidance else 0]
        total, length = torch.zeros_like(fakes), fakes.new_zeros(())
        for label in classes[0].unique():
            own = classes[0] == label
            points = fakes[own]
            near = require_enough_images(reals[classes[1] == label], f" of class {int(label)}")
            repel = torch.cat([points, others])
            counts = repel.new_ones(len(repel))
            counts[len(points) :] = self.guidance * len(points) / max(1, len(others))
            total[own], moved = drift(points, near, repel, self.temperatures, counts, itself=True)
            length = length + moved * len(points) / len(fakes)
        return total, length

    def directions(self, points: Tensor, reals: Tensor) -> Tensor:
        return self.field(points.flatten(1), reals.flatten(1), None)[0].view_as(points)


def drift(
    points: Tensor,
    attract: Tensor,
    repel: Tensor,
    temperatures: Sequence[float],
    counts: Tensor | None = None,
    itself: bool = False,
) -> tuple[Tensor, Tensor]:
    """Returns the directions V (N, D) of points (N, D), and their mean length.

    Weights are kernels exp(-distance / temperature), each divided by the root of the product of
    the sums of its row and its column. V = sum_ij a_i r_j (p_i - q_j) over the points p_i that
    attract and q_j that repel, so it changes its sign if they change places.

    Args:
        points: (N, D).
        attract: (P, D).
        repel: (Q, D).
        temperatures: As fractions of the mean distance. V of each is scaled to a mean square of 1.
        counts: (Q,), the weight of each point of `repel`; None: 1.
        itself: The first rows of `repel` are `points`, and no point repels itself.
    """
    counts = points.new_ones(len(repel)) if counts is None else counts
    logs = torch.cat([points.new_ones(len(attract)), counts]).log()
    others = torch.cat([attract, repel])
    distances = torch.cdist(points, others)
    to_itself = distances[:, len(attract) :].diagonal()[: len(points) if itself else 0]
    mean = (distances.sum() - to_itself.sum()) / (distances.numel() - len(to_itself))
    to_itself.fill_(torch.inf)
    distances = distances / mean.clamp(min=1e-12)
    total, length = torch.zeros_like(points), points.new_zeros(())
    for temperature in temperatures:
        logits = -distances / temperature
        rows, columns = (logits + logs).log_softmax(dim=1), logits.log_softmax(dim=0) + logs
        weights = ((rows + columns) / 2).clamp(min=MIN_LOG_WEIGHT).exp()
        weights = weights.nan_to_num()  # of a lone point and itself
        near, far = weights[:, : len(attract)], weights[:, len(attract) :]
        pull = [near * far.sum(dim=1, keepdim=True), -far * near.sum(dim=1, keepdim=True)]
        with torch.autocast(points.device.type, enabled=False):  # bf16 has three digits only
            move = torch.cat(pull, dim=1) @ others
        length = length + move.norm(dim=1).mean()
        total = total + move / move.square().mean().sqrt().clamp(min=1e-12)
    return total, length


def require_enough_images(reals: Tensor, which: str = "") -> Tensor:
    """Returns the real points; raises a UserError if there are too few."""
    if len(reals) < MIN_REAL_IMAGES:
        raise UserError(
            f"a batch has {len(reals)} images{which}, and Drift needs {MIN_REAL_IMAGES}: set "
            "data.batch_size higher, to 64 times the number of classes for example"
        )
    return reals


def shrunk(images: Tensor, scale: int) -> Tensor:
    """Downsamples and flattens images (B, C, H, W) -> (B, D)."""
    return (images if scale == 1 else F.avg_pool2d(images, scale, ceil_mode=True)).flatten(1)


def window(images: Tensor, place: Sequence[float]) -> Tensor:
    """Images (B, C, H, W) -> the pixels around a place (y, x) in [0, 1), (B, D); outside is 0."""
    (height, width), half = images.shape[2:], WINDOW // 2
    y, x = int(place[0] * height), int(place[1] * width)
    edges = [half - x, half + x + 1 - width, half - y, half + y + 1 - height]  # less than 0: cut
    return F.pad(images, edges).flatten(1)
