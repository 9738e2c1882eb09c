"""A classifier whose network was trained before, on other pictures: its weights, and how they thaw.

The networks are timm's.
"""

import difflib
import hashlib
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import LambdaLR

from models.image_classifiers import ImageClassifier
from models.layers import use_channels_last_
from models.training import build_optimizer
from runtime.errors import UserError
from runtime.ranges import Positive, Probability

MOST_PROBED = 5_000  # training images on whose features the last layer begins
INVERSE_PENALTY = 0.03  # of its squared weights, as in `metrics.probe`
DEPTHS = 4  # groups of the layers below the last one, by depth
SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")  # of files with weights


class Pretrained(nn.Module):
    """A known architecture with a new last layer, and weights from elsewhere for all others.

    It takes pictures in [0, 1], gray ones as three equal channels, and normalizes them as its
    weights need. `load` gets the weights, because a checkpoint has them already.

    Args:
        input_shape: (C, H, W) of the pictures, with one or three channels.
        num_outputs: Units of the new last layer; 0: outputs are the features (B, F) below it.
        architecture: Name of a network of timm.
        weights: A file; `package:NAME` of an installed package that has one; `download`; or `none`.
        size: Height and width to which pictures are resized first; None: their own, or what the
            architecture insists on.
    """

    removed_options = {"sha256": ""}
    mean: Tensor
    std: Tensor
    sha256: Tensor  # of the loaded weights, 32 bytes; zeros: none are loaded

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_outputs: int,
        architecture: str = "resnet18",
        weights: str = "download",
        size: Positive | None = None,
    ) -> None:
        super().__init__()
        self.name, self.weights = architecture.removeprefix("timm/"), weights  # of earlier runs
        self.body = _build(self.name, num_outputs)
        config = self.body.pretrained_cfg
        self.size = size or (config["input_size"][1] if config["fixed_input_size"] else None)
        # Buffers, so that checkpoints and exported files have them.
        self.register_buffer("mean", torch.tensor(config["mean"]).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(config["std"]).view(-1, 1, 1))
        self.register_buffer("sha256", torch.zeros(32, dtype=torch.uint8))
        self.last = f"{config['classifier']}."  # begins the names of the last layer's weights
        for parameter in self.body.get_classifier().parameters():  # The first loss is ln K.
            nn.init.zeros_(parameter)
        use_channels_last_(self)  # a CPU then trains twice as fast in float32

    @property
    def is_loaded(self) -> bool:
        """True if the network has weights from elsewhere, also by a checkpoint."""
        return bool(self.sha256.any())

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] -> logits (B, num_outputs)."""
        if self.size:
            images = interpolate(images, (self.size, self.size), mode="bilinear")
        outputs: Tensor = self.body((images - self.mean) / self.std)  # one channel becomes three
        return outputs

    def load(self) -> None:
        """Loads the weights of all layers but the last one, unless they are `none`.

        Raises:
            UserError: There are none, or they are of another architecture.
        """
        if self.weights == "none":
            return
        tensors, state = _read(self.weights, self.name), self.body.state_dict()
        kept = [name for name in state if not name.startswith(self.last)]
        last = {name: state[name] for name in state if name not in kept}
        more = len(tensors) - len(state)  # the file's last layer, if this network has none
        if not {*kept} <= {*tensors} and 0 <= more <= (0 if last else 2):
            # Another library's names, in the same order.
            tensors = dict(zip(state, tensors.values(), strict=False))
        try:
            self.body.load_state_dict({k: tensors[k] for k in kept if k in tensors} | last)
        except RuntimeError as error:
            raise UserError(
                f"--model.network.weights {self.weights}: not the weights of {self.name} "
                f"({shorten(str(error), 200)}): give others, or the architecture that they are of"
            ) from None
        values = b"".join(tensors[name].float().numpy().tobytes() for name in kept)
        digest = bytearray(hashlib.sha256(values).digest())
        self.sha256.copy_(torch.frombuffer(digest, dtype=torch.uint8))


def _build(name: str, num_outputs: int) -> Any:
    import timm  # takes 1.5 s

    known = timm.list_models() + timm.list_pretrained()
    if name not in known:
        near = difflib.get_close_matches(name.rpartition("/")[2], known)
        raise UserError(
            f"--model.network.architecture: there is no {name} in timm, from which all networks "
            f"come. Did you mean {' or '.join(near or known[:3])}?"
        )
    body: Any = timm.create_model(name, num_classes=num_outputs)
    layer = getattr(body, "get_classifier", lambda: None)()
    if layer is None or (num_outputs and not isinstance(layer, nn.Linear)):
        raise UserError(
            f"--model.network.architecture: {name} does not end with one fully connected layer, "
            "which Pretrained replaces: choose another"
        )
    return body


def _read(weights: str, name: str) -> dict[str, Tensor]:
    """Returns the tensors of a file, or those that timm has for a network, by name."""
    import timm

    kind, _, package = weights.partition(":")
    file = _file_in(package) if kind == "package" else Path(weights)
    try:
        if weights == "download":
            return dict(timm.create_model(name, pretrained=True).state_dict())
        return dict(timm.models.load_state_dict(str(file), weights_only=True))
    except Exception as error:  # of networks and of files of others, in any way
        reason = shorten(str(error), 150) or "no such file"
        raise UserError(
            f"--model.network.weights {weights}: no weights ({reason}): give a file, or "
            "package:NAME of an installed package that has one"
        ) from None


def _file_in(package: str) -> Path:
    """Returns the file of weights in an installed package, which is not imported."""
    spec = find_spec(package) if package.isidentifier() else None
    if spec is None or spec.origin is None:
        raise UserError(
            f"--model.network.weights package:{package}: not installed: install it, or give a file"
        )
    files = [path for path in Path(spec.origin).parent.rglob("*") if path.suffix in SUFFIXES]
    if len(files) != 1:
        raise UserError(
            f"--model.network.weights package:{package}: it has {len(files)} files of weights: "
            "give the path of one"
        )
    return files[0]


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
        network: Callable[[tuple[int, ...], int], Pretrained] = Pretrained,
        frozen: Probability = 0.0,
        lowest_rate: Probability = 0.1,
        **classifier: Any,
    ) -> None:
        super().__init__(input_shape, num_classes, network, **classifier)
        self.frozen, self.lowest_rate = frozen, lowest_rate
        if frozen == 1:
            self.network.body.requires_grad_(False)  # saves the work of their gradients
            self.network.body.get_classifier().requires_grad_(True)

    def on_fit_start(self) -> None:
        """Loads the weights, unless a checkpoint, or the run of `--init_from`, has brought them.

        With a `DataModule` of this project, the last layer then begins as a linear probe.
        """
        super().on_fit_start()
        if self.network.weights != "none" and not self.network.is_loaded:
            self.network.load()
            data = cast(Any, self.trainer).datamodule
            if getattr(data, "examples", None):  # this project's DataModule
                self._fit_last_layer(data)
            if self.ema is not None:
                self.ema.network.load_state_dict(self.network.state_dict())
        self._keeps_statistics = self.network.is_loaded

    @torch.no_grad()
    def _fit_last_layer(self, data: Any) -> None:
        """Sets the last layer to a logistic regression on features of training images."""
        from sklearn.linear_model import LogisticRegression  # takes 0.7 s

        images, targets = data.examples("train", MOST_PROBED)
        if len(seen := targets.unique().cpu()) < 2:
            return
        trunk, layer = deepcopy(self.network).eval(), self.network.body.get_classifier()
        trunk.body.reset_classifier(0)  # outputs are features
        blocks = (images[k : k + 32].to(self.device) for k in range(0, len(images), 32))
        outputs = [trunk(data.on_after_batch_transfer((block,), 0)[0]) for block in blocks]
        features = torch.cat(outputs).double().cpu()
        scale = features.square().mean().sqrt()
        probe = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000)
        probe.fit((features / scale).numpy(), targets.cpu().numpy())
        weight, bias = torch.from_numpy(probe.coef_) / scale, torch.from_numpy(probe.intercept_)
        if len(seen) == 2:  # scikit-learn has the logit of the second class
            weight, bias = (torch.cat([-x, x]) / 2 for x in (weight, bias))
        layer.weight[seen], layer.bias[seen] = weight.to(layer.weight), bias.to(layer.bias)

    def configure_optimizers(self) -> Any:
        """Groups the layers by depth. All groups exist from the first step."""
        body, last, schedule = self.network.body, self.network.last, self.schedule
        below = [p for name, p in body.named_parameters() if not name.startswith(last)]
        size = -(-len(below) // DEPTHS)
        groups = [below[k : k + size] for k in range(0, len(below), size)]
        groups.append([*body.get_classifier().parameters()])
        parameters: Any = [{"params": group} for group in groups]
        optimizer = build_optimizer(parameters, self.make_optimizer)
        total, top = schedule.total_steps(self.trainer), len(groups) - 1
        self._thaws = self.frozen * total if self.frozen < 1 else float("inf")  # at this step

        def factor(depth: int, step: int) -> float:
            learns = depth == top or step >= self._thaws
            return learns * self.lowest_rate ** (1 - depth / top) * schedule.factor(step, total)

        scheduler = LambdaLR(optimizer, [partial(factor, depth) for depth in range(len(groups))])
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Keeps the batch statistics of loaded weights, and the mode of frozen layers."""
        super().on_train_batch_start(batch, batch_idx)
        self.network.body.train(self.global_step >= self._thaws)
        for part in self.network.body.modules() if self._keeps_statistics else ():
            if isinstance(part, _BatchNorm):
                part.eval()
