"""Pictures of the features that a network has learned: the Trainer's method `maximize`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn

from callbacks.drawing import class_names, publish
from callbacks.figures import figures_folder, output_folder
from commands.maximize_figures import draw_filters, draw_maximized, draw_occlusion
from datamodules.base import InMemoryDataModule
from models.activation_maximization import (
    activations,
    first_layer_filters,
    frozen,
    last_layer,
    maximize,
)
from models.classifier import Classifier
from models.gan import GAN
from models.occlusion import occlusion_map
from runtime.run_folder import RunFolder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Inspected(NamedTuple):
    """A network to inspect."""

    network: nn.Module
    forward: Callable[[Tensor], object]  # Runs the network on images.
    layer: str  # The layer to inspect by default.
    image_shape: tuple[int, ...]
    num_classes: int  # Classes that the default layer scores; 0 if it scores none.
    seed: int


def inspect(model: LightningModule) -> Inspected:
    """Returns a classifier's network (averaged weights if there are any) or a discriminator.

    Raises:
        MisconfigurationException: The model is neither a GAN nor a classifier of images.
    """
    if isinstance(model, GAN):

        def forward(images: Tensor) -> Tensor:  # No layer of the trunk sees the label.
            labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
            return model.realness(images, labels)

        layer, classes = "classes" if model.conditional else "realness", model.num_classes or 0
        image_shape = model.image_shape
        return Inspected(model.discriminator, forward, layer, image_shape, classes, model.seed)
    if not isinstance(model, Classifier):
        raise MisconfigurationException(
            f"maximize inspects a classifier or a GAN's discriminator, not {type(model).__name__}"
        )
    network, shape = model.network if model.ema is None else model.ema.network, model.input_shape
    if len(shape) != 3:
        raise MisconfigurationException(
            f"maximize draws images, but the inputs of {type(model).__name__} have shape {shape}"
        )
    layer = last_layer(network)
    return Inspected(network, network, layer, shape, model.num_classes, model.seed)


class Maximization:
    """Mixin that adds the method `maximize` to a Trainer."""

    def maximize(
        self,
        model: LightningModule,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | Path | None = None,
        weights_only: bool | None = None,
        layer: str | None = None,
        unit: int | None = None,
        steps: int = 200,
        lr: float = 0.05,
        jitter: int = 1,
        blur: float = 0.5,
        l2: float = 0.02,
        occlusion: int = 8,
        out: str | Path | None = None,
    ) -> None:
        """Draws inputs that excite a network's units, its first filters, and occlusion maps.

        Writes `maximize_<layer>.png` and `filters.png`, and for classifiers `occlusion.png`.

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
            occlusion: Number of test images to draw occlusion maps for; 0 draws none.
            out: Folder for the pictures; by default the run's `figures`.
        """
        trainer = cast(Trainer, self)
        if not trainer.is_global_zero:
            return  # One process is enough.
        model = _prepare(trainer, model, ckpt_path, weights_only)
        folder = _folder(trainer, out)
        network, forward, default_layer, shape, num_classes, seed = inspect(model)
        name = (layer or default_layer).removeprefix("network.").removeprefix("discriminator.")
        data = datamodule if isinstance(datamodule, InMemoryDataModule) else None
        high = 1.0 if data is None else 255 / data.scale
        wanted = None if unit is None else [unit]
        options: dict[str, Any] = {"steps": steps, "lr": lr, "jitter": jitter, "blur": blur}
        options |= {"l2": l2, "seed": seed, "bounds": (0.0, high), "forward": forward}
        images = maximize(network, name, wanted, shape, **options)
        scores = activations(network, name, images, forward)
        units = torch.arange(scores.shape[1]) if unit is None else torch.tensor([unit])
        reached = scores.cpu().gather(1, units[:, None])[:, 0]
        names = [f"unit {place}" for place in range(scores.shape[1])]
        if name == default_layer and len(names) == num_classes:
            names = class_names(data, num_classes)
        names = [names[place] for place in units.tolist()]
        figures = {f"maximize_{name}": draw_maximized(images, reached, names, name)}
        figures["filters"] = draw_filters(first_layer_filters(network, shape))
        if occlusion and data is not None and isinstance(model, Classifier):
            figures["occlusion"] = _occlusion(model, network, data, occlusion, high)
        for title, figure in figures.items():
            publish(trainer, folder, title, figure)
        print(f"Drawn into {folder}: {', '.join(f'{title}.png' for title in figures)}")


def _prepare(
    trainer: Trainer,
    model: LightningModule,
    ckpt_path: str | Path | None,
    weights_only: bool | None,
) -> LightningModule:
    """Moves the model with its trained weights to the trainer's device; sets the run's folder."""
    trainer.strategy.connect(model)
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set by a connector
        if isinstance(callback, RunFolder):
            callback.setup(trainer, model, stage="predict")
    if ckpt_path is None:
        print("No --ckpt_path: these are the pictures of an untrained network.")
    else:
        checkpoint = trainer.strategy.load_checkpoint(str(ckpt_path), weights_only)
        model.on_load_checkpoint(checkpoint)
        model.load_state_dict(checkpoint["state_dict"])
    return model.to(trainer.strategy.root_device)


def _folder(trainer: Trainer, out: str | Path | None) -> Path:
    folder = Path(out) if out else figures_folder(trainer)
    return output_folder(folder or Path(trainer.default_root_dir) / "figures")  # The run has none.


def _occlusion(
    model: Classifier, network: nn.Module, data: InMemoryDataModule, count: int, high: float
) -> "Figure":
    """Draws occlusion maps of the first test images; the square covers about a fifth of a side."""
    data.prepare_data()
    data.setup("test")
    assert data.splits is not None
    rows = tuple(part[:count].to(model.device) for part in data.splits.test)
    images, targets = data.on_after_batch_transfer(rows, 0)
    size = max(1, round(0.21 * min(images.shape[2:])))
    stride = max(1, size // 3)
    probabilities = model.probabilities
    with torch.no_grad(), frozen(network):
        uncovered = probabilities(network(images).float())
    maps = occlusion_map(
        network, images, targets, size, stride, fill=high / 2, probabilities=probabilities
    )
    names = class_names(data, model.num_classes)
    titles = [
        f"{names[target]}: {p[target]:.3f}" for target, p in zip(targets, uncovered, strict=True)
    ]
    return draw_occlusion(images, maps, titles, size, stride)
