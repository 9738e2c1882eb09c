"""Trained networks as programs: tensors in and out by name, no training code, any batch size."""

from collections.abc import Sequence
from copy import copy
from functools import cached_property
from typing import Any, NamedTuple

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from models.classifier import Classifier
from models.gan import GAN
from models.gan.tricks import MinibatchStd, Pack
from models.regressor import FunctionMLP

EXAMPLES = 64  # random inputs that a program is tried on
Exportable = Classifier | FunctionMLP | GAN


class Input(NamedTuple):
    """One input of a program."""

    examples: Tensor  # (EXAMPLES, ...)
    meaning: str  # for people: the range or unit of the values
    code: str  # a NumPy expression for three valid examples


class Program(nn.Module):
    """A network in eval mode, from named inputs to named outputs. A subclass computes them.

    Args:
        name: What the network is; the stem of its files.
        model: The trained model.
        inputs: The inputs, by name.
        outputs: The meaning of the outputs, by name.
        unused: Modules and buffers of the model that `forward` does not use. Files omit them.
    """

    def __init__(
        self,
        name: str,
        model: LightningModule,
        inputs: dict[str, Input],
        outputs: dict[str, str],
        unused: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.name, self.inputs, self.outputs = name, inputs, outputs
        self.model: Any = copy(model)  # shares the tensors
        for kind in ("_modules", "_buffers"):
            kept = {k: v for k, v in getattr(model, kind).items() if k not in unused}
            setattr(self.model, kind, kept)
        self.requires_grad_(False).eval()

    def examples(self, count: int = EXAMPLES) -> dict[str, Tensor]:
        """Returns the first examples of each input."""
        return {name: given.examples[:count] for name, given in self.inputs.items()}

    @property
    def dynamic_shapes(self) -> dict[str, Any]:
        """The dimensions that may change from call to call: the first of each input."""
        return {name: {0: Dim("batch")} for name in self.inputs}

    @cached_property
    def traced(self) -> ExportedProgram:
        """The program as a graph of torch's operators."""
        shapes = self.dynamic_shapes
        with torch.no_grad():
            return torch.export.export(self, (), self.examples(3), dynamic_shapes=shapes)


class ClassifierOfFloats(Program):
    """Inputs float32 (N, ...), prepared as in training -> logits, class probabilities (N, K)."""

    def __init__(self, model: Classifier, inputs: dict[str, Input]) -> None:
        outputs = {"logits": "before softmax or sigmoid", "probabilities": "of each class, 0 to 1"}
        unused = ["metrics"] if model.ema is None else ["metrics", "network"]
        super().__init__("classifier", model, inputs, outputs, unused)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        logits = self.model(inputs)
        return {"logits": logits, "probabilities": self.model.as_probabilities(logits)}


class ClassifierOfPixels(ClassifierOfFloats):
    """Images uint8 (N, C, H, W), as they are stored -> logits, class probabilities (N, K).

    It divides by `scale`, as the training data were. Only uint8 is accepted, so pixels cannot be
    passed in another range by mistake.
    """

    def __init__(self, model: Classifier, scale: float) -> None:
        shape = model.input_shape
        pixels = torch.randint(256, (EXAMPLES, *shape), generator=_random(), dtype=torch.uint8)
        images = Input(pixels, "pixels 0 to 255", f"np.zeros({(3, *shape)}, np.uint8)")
        super().__init__(model, {"images": images})
        self.scale = scale

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return super().forward(images.float() / self.scale)


class Regressor(Program):
    """Points float32 (N, m) -> predictions (N, 1)."""

    def __init__(self, model: FunctionMLP, inputs: dict[str, Input]) -> None:
        super().__init__("regressor", model, inputs, {"predictions": "values"})

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"predictions": self.model(inputs)}


class Generator(Program):
    """Latents (N, latent_dim) and, if conditional, labels (N,) -> images (N, C, H, W)."""

    def __init__(self, model: GAN) -> None:
        unused = ["discriminator"] + ([] if model.ema is None else ["generator"])
        uniform = model.latent == "uniform"
        draw = "random" if uniform else "standard_normal"
        code = f"np.random.default_rng(0).{draw}((3, {model.latent_dim}), np.float32)"
        noise = "uniform noise, 0 to 1" if uniform else "Gaussian noise"
        latents = Input(model.draw(EXAMPLES, _random())[0], noise, code)
        inputs = {"latents": latents} | _labels(model)
        super().__init__("generator", model, inputs, {"images": "pixels, 0 to 1"}, unused)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        return {"images": self.model(latents, labels)}


class Discriminator(Program):
    """Images (N, C, H, W) and, if conditional, labels (N,) -> logits and P(real), both (N,)."""

    def __init__(self, model: GAN) -> None:
        pixels = torch.rand(EXAMPLES, *model.image_shape, generator=_random())
        code = f"np.zeros({(3, *model.image_shape)}, np.float32)"
        inputs = {"images": Input(pixels, "pixels, 0 to 1", code)} | _labels(model)
        outputs = {"realness": "logits of being real", "probabilities": "of being real, 0 to 1"}
        unused = ["generator", "ema"]
        super().__init__("discriminator", model, inputs, outputs, unused)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        realness = self.model.realness(images, labels)
        return {"realness": realness, "probabilities": realness.sigmoid()}


def programs_of(model: Exportable, scale: float | None) -> list[Program]:
    """Returns the programs of a trained model, in the order in which data flow through them.

    A discriminator that compares the images of a batch is none: its answer for an image would
    depend on the others.

    Args:
        model: The model, in float32 on the CPU.
        scale: Divisor of the pixels in the training data; None: unknown, so that a classifier of
            images takes floats as in training.
    """
    if isinstance(model, GAN):
        if any(isinstance(layer, MinibatchStd | Pack) for layer in model.discriminator.modules()):
            rank_zero_warn(
                "The discriminator is left out, because it compares the images of a batch "
                "(model.trunk.minibatch_std or packing)."
            )
            return [Generator(model)]
        return [Generator(model), Discriminator(model)]
    if isinstance(model, Classifier):
        if len(model.input_shape) == 3 and scale is not None:
            return [ClassifierOfPixels(model, scale)]
        return [ClassifierOfFloats(model, _floats(model.input_shape))]
    return [Regressor(model, _floats(model.input_shape))]


def _random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _floats(shape: Sequence[int]) -> dict[str, Input]:
    examples = torch.randn(EXAMPLES, *shape, generator=_random())
    code = f"np.zeros({(3, *shape)}, np.float32)"
    return {"inputs": Input(examples, "prepared as the training data", code)}


def _labels(model: GAN) -> dict[str, Input]:
    if model.num_classes is None:
        return {}
    labels = torch.arange(EXAMPLES) % model.num_classes
    meaning = f"classes, 0 to {model.num_classes - 1}"
    return {"labels": Input(labels, meaning, f"np.arange(3) % {model.num_classes}")}
