"""Pictures of the features that a network has learned: the Trainer's method `maximize`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from lightning import LightningDataModule, LightningModule, Trainer
from matplotlib.figure import Figure
from torch import Tensor, nn

from callbacks.results import class_names
from commands.maximize_figures import draw_filters, draw_maximized, draw_occlusion
from datamodules.base import InMemoryDataModule
from figures.pictures import figures_folder, output_folder, publish
from models.classifier import Classifier
from models.gan import GAN
from models.inspection import (
    activations,
    first_layer_filters,
    frozen,
    last_layer,
    maximize,
    occlusion_map,
)
from runtime.errors import UserError
from runtime.ranges import (
    NonNegative,
    NonNegativeFloat,
    Positive,
    PositiveFloat,
    Share,
)
from runtime.run_folder import RunFolder

CANDIDATES = 1000  # test images, of which some are occluded
SQUARES, FLAT = (
    (0.21, 0.35, 0.5),
    0.1,
)  # shares of a side; a range of probabilities that says little


class Inspected(NamedTuple):
    network: nn.Module
    forward: Callable[[Tensor], object]  # Runs the network on images.
    layer: str  # The layer to inspect by default.
    image_shape: tuple[int, ...]
    num_classes: int | None  # Classes that the default layer scores.


def inspect(model: LightningModule) -> Inspected:
    """Returns a classifier's network (averaged weights if there are any) or a discriminator."""
    if isinstance(model, GAN):

        def forward(images: Tensor) -> Tensor:  # No layer of the trunk sees the label.
            return model.realness(images, images.new_zeros(len(images), dtype=torch.int64))

        layer, shape = "classes" if model.num_classes is not None else "realness", model.image_shape
        return Inspected(model.discriminator, forward, layer, shape, model.num_classes)
    if not isinstance(model, Classifier):
        raise UserError(
            f"maximize inspects a classifier or a GAN's discriminator, not {type(model).__name__}"
        )
    if len(model.input_shape) != 3:
        raise UserError(
            f"maximize draws images, but the inputs of {type(model).__name__} have shape "
            f"{model.input_shape}"
        )
    network = model.network if model.ema is None else model.ema.network
    return Inspected(network, network, last_layer(network), model.input_shape, model.num_classes)


class Maximization:
    """Mixin that adds the method `maximize` to a Trainer."""

    def maximize(
        self,
        model: LightningModule,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | Path | None = None,
        weights_only: bool | None = None,
        layer: str | None = None,
        unit: NonNegative | None = None,
        steps: Positive = 200,
        lr: PositiveFloat = 0.05,
        jitter: NonNegative = 1,
        blur: NonNegativeFloat = 0.5,
        l2: Share = 0.02,
        occlusion: NonNegative = 8,
        out: str | Path | None = None,
    ) -> None:
        """Draws inputs that excite a network's units, its first filters, and occlusion maps.

        Writes `maximize_class_scores.png`, or `maximize_<layer>.png` of another layer, and
        `filters.png`, and for classifiers `occlusion.png`.

        Args:
            model: A classifier of images, or a GAN, whose discriminator is inspected.
            datamodule: Source of the range of the inputs, and of test images to occlude.
            ckpt_path: The trained weights.
            weights_only: Refuse a checkpoint that contains more than plain values.
            layer: Name of a layer of the network; by default the last one, the class scores.
                The error for a wrong name lists all names.
            unit: A unit of that layer; by default all of them.
            steps: Steps of gradient ascent.
            lr: Root mean square of a step, as a share of the range of pixels.
            jitter: Largest shift of the image at each step, in pixels.
            blur: Standard deviation of a Gaussian that smooths the image at each step, in pixels.
            l2: Share by which all pixels shrink at each step.
            occlusion: Number of test images to draw occlusion maps for, the least certain of those
                that are classified right; 0 draws none.
            out: Folder for the pictures; by default the run's `figures`.
        """
        trainer = cast(Trainer, self)
        if not trainer.is_global_zero:
            return  # One process is enough.
        network, forward, default_layer, shape, num_classes = inspect(model)
        model = _prepare(trainer, model, ckpt_path, weights_only)
        fallback = figures_folder(trainer) or Path(trainer.default_root_dir) / "figures"
        folder = output_folder(Path(out or fallback))
        name = (layer or default_layer).removeprefix("network.").removeprefix("discriminator.")
        data = datamodule if isinstance(datamodule, InMemoryDataModule) else None
        high = 1.0 if data is None else 255 / data.scale
        wanted = None if unit is None else [unit]
        ascent = steps, lr, jitter, blur, l2, cast(int, model.seed)
        options: dict[str, Any] = {"bounds": (0.0, high), "forward": forward}
        images = maximize(network, name, wanted, shape, *ascent, **options)
        scores = activations(network, name, images, forward).cpu()
        units = torch.arange(scores.shape[1]) if unit is None else torch.tensor([unit])
        reached = scores.gather(1, units[:, None])[:, 0]
        names = [f"unit {place}" for place in units.tolist()]
        role = name
        if name == default_layer and scores.shape[1] == num_classes:
            names = [class_names(data, num_classes)[place] for place in units.tolist()]
            role = "class_scores" if isinstance(model, Classifier) else name
        figures = {f"maximize_{role}": draw_maximized(images, reached, names, role)}
        figures["filters"] = draw_filters(first_layer_filters(network, shape))
        if occlusion and data is not None and isinstance(model, Classifier):
            figures["occlusion"] = _occlusion(model, network, data, occlusion, high)
        for title, figure in figures.items():
            publish(trainer, folder, title, figure)
        print(f"Drawn into {folder}: {', '.join(f'{title}.png' for title in figures)}")


def _prepare(
    trainer: Trainer, model: LightningModule, ckpt_path: str | Path | None, safe: bool | None
) -> LightningModule:
    """Moves the model with its trained weights to the trainer's device; sets the run's folder."""
    trainer.strategy.connect(model)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set by a connector
        if isinstance(callback, RunFolder):
            callback.setup(trainer, model, stage="predict")
    if ckpt_path is None:
        print("No --ckpt_path: these are the pictures of an untrained network.")
    else:
        checkpoint = trainer.strategy.load_checkpoint(str(ckpt_path), safe)
        model.on_load_checkpoint(checkpoint)
        model.load_state_dict(checkpoint["state_dict"])
    return model.to(trainer.strategy.root_device)


def _occlusion(
    model: Classifier, network: nn.Module, data: InMemoryDataModule, count: int, high: float
) -> Figure:
    """Draws occlusion maps of the least certain of the test images that are classified right.

    The square covers a fifth of a side, or more if that hardly changes any probability.
    """
    data.prepare_data()
    data.setup("test")
    assert data.splits is not None
    candidates = data.excerpt(data.splits.test, CANDIDATES)
    rows = tuple(part.to(model.device) for part in candidates)
    images, targets = data.on_after_batch_transfer(rows, 0)
    with torch.no_grad(), frozen(network):
        uncovered = torch.cat([model.probabilities(x) for x in images.split(250)])
    shares = uncovered.gather(1, targets[:, None])[:, 0]
    wrong = uncovered.argmax(dim=1) != targets
    chosen = (shares + wrong.float()).argsort(stable=True)[:count]  # wrong ones come last
    images, targets, shares = images[chosen], targets[chosen], shares[chosen]
    options: dict[str, Any] = {"fill": high / 2, "probabilities": model.as_probabilities}
    for part in SQUARES:
        size = max(1, round(part * min(images.shape[2:])))
        stride = max(1, size // 3)
        maps = occlusion_map(network, images, targets, size, stride, **options)
        if maps.max() - maps.min() > FLAT:
            break
    names = class_names(data, model.num_classes)
    pairs = zip(targets.tolist(), shares.tolist(), strict=True)
    titles = [f"{names[k]}\n{p:.2f}" for k, p in pairs]
    return draw_occlusion(images, maps, titles, size, stride)
