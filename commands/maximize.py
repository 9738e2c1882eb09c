"""What a network has learned to look for, in pictures: the Trainer's method `maximize`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn

from callbacks.drawing import class_names, publish
from callbacks.figures import figures_folder, output_folder
from commands.maximize_figures import draw_filters, draw_maximized, draw_occlusion
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

SQUARE, STRIDE = 6, 2  # of the occlusion maps, in pixels


class Inspected(NamedTuple):
    """The network to look into, how to run it, and the layer to look at by default."""

    network: nn.Module
    forward: Callable[[Tensor], object]
    layer: str
    input_shape: tuple[int, ...]


def inspect(model: LightningModule) -> Inspected:
    """A classifier's network, with averaged weights where there are any; a GAN's discriminator.

    Raises:
        MisconfigurationException: The model is neither, or does not take images.
    """
    if isinstance(model, GAN):
        discriminator = model.discriminator

        def forward(images: Tensor) -> Tensor:  # no layer of the trunk sees the label
            labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
            return model.realness(images, labels)

        layer = "classes" if hasattr(discriminator, "classes") else "realness"
        return Inspected(discriminator, forward, layer, (1, 28, 28))
    if not isinstance(model, Classifier):
        raise MisconfigurationException(
            f"maximize looks into a classifier or a GAN's discriminator, not {type(model).__name__}"
        )
    network = model.network if model.ema is None else model.ema.network
    shape = tuple(cast(Tensor, model.example_input_array).shape[1:])
    if len(shape) != 3:
        raise MisconfigurationException(
            f"maximize draws images, and the inputs of {type(model).__name__} have shape {shape}"
        )
    return Inspected(network, network, last_layer(network), shape)


class Maximization:
    """For a Trainer to inherit, which thereby gets the method `maximize`."""

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
        """Draws what excites a network's units, its first filters, and where it looks.

        Writes `maximize_<layer>.png` and `filters.png`, and for classifiers `occlusion.png`.

        Args:
            model: A classifier of images, or a GAN, whose discriminator is looked into.
            datamodule: Gives the range of the inputs, and test images to occlude.
            ckpt_path: The trained weights.
            weights_only: Whether to refuse a checkpoint that holds more than plain values.
            layer: A layer of the network by its name; by default the last one, the class scores.
                A wrong name is answered with those there are.
            unit: A unit of that layer; by default all of them.
            steps: Steps of gradient ascent.
            lr: Root mean square of a step, in parts of the range of pixels.
            jitter: Shift the image by up to so many pixels at each step.
            blur: Standard deviation in pixels of a Gaussian that smooths the image at each step.
            l2: Share by which all pixels shrink at each step.
            occlusion: Number of test images to draw occlusion maps for; 0: none.
            out: Folder for the pictures; by default the run's `figures`.
        """
        trainer = cast(Trainer, self)
        if not trainer.is_global_zero:
            return  # the work of one process
        model = _prepare(trainer, model, ckpt_path, weights_only)
        folder = _folder(trainer, out)
        inspected = inspect(model)
        name = (layer or inspected.layer).removeprefix("network.").removeprefix("discriminator.")
        high = 255 / getattr(datamodule, "scale", 255.0)
        network, forward = inspected.network, inspected.forward
        images = maximize(
            network,
            name,
            None if unit is None else [unit],
            inspected.input_shape,
            steps=steps,
            lr=lr,
            jitter=jitter,
            blur=blur,
            l2=l2,
            seed=int(getattr(model, "seed", 0)),
            bounds=(0.0, high),
            forward=forward,
        )
        scores = activations(network, name, images, forward)
        units = torch.arange(scores.shape[1]) if unit is None else torch.tensor([unit])
        reached = scores.cpu().gather(1, units[:, None])[:, 0]
        names = _unit_names(model, datamodule, units, scores_classes=name == inspected.layer)
        figures = {f"maximize_{name}": draw_maximized(images, reached, names, name)}
        figures["filters"] = draw_filters(first_layer_filters(network, inspected.input_shape))
        if occlusion and datamodule is not None and isinstance(model, Classifier):
            figures["occlusion"] = _occlusion(model, network, datamodule, occlusion, high)
        for title, figure in figures.items():
            publish(trainer, folder, title, figure)
        print(f"Drawn into {folder}: {', '.join(f'{title}.png' for title in figures)}")


def _prepare(
    trainer: Trainer,
    model: LightningModule,
    ckpt_path: str | Path | None,
    weights_only: bool | None,
) -> LightningModule:
    """The model with its trained weights on the trainer's device, and the run's folder known."""
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
    return output_folder(folder or Path(trainer.default_root_dir) / "figures")  # no run's folder


def _unit_names(
    model: LightningModule, data: LightningDataModule | None, units: Tensor, scores_classes: bool
) -> list[str]:
    """Names of units, those of the classes where the layer gives a score to each."""
    count = getattr(model, "num_classes", 0)
    if scores_classes and len(units) <= count:
        names = class_names(data, count)
        return [names[unit] for unit in units.tolist()]
    return [f"unit {unit}" for unit in units.tolist()]


def _occlusion(
    model: Classifier, network: nn.Module, data: LightningDataModule, count: int, high: float
) -> "Figure":
    """Occlusion maps of the first test images."""
    images, targets = (part.to(model.device) for part in _test_images(data, count))
    with torch.no_grad(), frozen(network):
        uncovered = model.probabilities(network(images).float())
    maps = occlusion_map(
        network,
        images,
        targets,
        SQUARE,
        STRIDE,
        fill=high / 2,
        probabilities=model.probabilities,
    )
    names = class_names(data, uncovered.shape[1])
    titles = [
        f"{names[target]}: {p[target]:.3f}" for target, p in zip(targets, uncovered, strict=True)
    ]
    return draw_occlusion(images, maps, titles, SQUARE, STRIDE)


def _test_images(data: LightningDataModule, count: int) -> tuple[Tensor, Tensor]:
    data.prepare_data()
    data.setup("test")
    images: list[Tensor] = []
    targets: list[Tensor] = []
    for batch in data.test_dataloader():
        inputs, classes = data.on_after_batch_transfer(batch, 0)
        images.append(inputs)
        targets.append(classes)
        if sum(map(len, targets)) >= count:
            break
    return torch.cat(images)[:count], torch.cat(targets)[:count]
