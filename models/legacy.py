"""Translates the classes and init arguments of version 0.1: the only place with their names.

Checkpoints and the `config.yaml` of run folders go through here, so old runs still load.
"""

from typing import Any

from torch import nn

InitArgs = dict[str, Any]

IMAGES = {"input_shape": [1, 28, 28], "num_classes": 10}  # all that version 0.1 could load
SHAPES: dict[str, InitArgs] = {
    "GAN": {"image_shape": [1, 28, 28]},
    "ConditionalGAN": {"image_shape": [1, 28, 28]},
    "MNISTDense": IMAGES,
    "MNISTConv": IMAGES,
    "VGG": IMAGES,
    "Judge": IMAGES,
    "IrisMLP": {"input_shape": [4], "num_classes": 3},
    "GateLogistic": {"input_shape": [2], "num_classes": 2},
    "GateMLP": {"input_shape": [2], "num_classes": 2},
    "FunctionMLP": {},  # its shape was an argument, `dimensions`
}
NETWORKS = {  # old class -> (network, new name of each old argument)
    "MNISTDense": ("networks.FeedForward", ("hidden", "activation", "dropout", "batch_norm")),
    "MNISTConv": ("networks.ResidualConvNet", ("width", "dropout")),
    "VGG": ("vgg.VGG16", ("width", "hidden", "batch_norm", "dropout", "image_size")),
    "Judge": ("metrics.judge.JudgeNetwork", ("width", "num_features")),
    "IrisMLP": ("networks.FeedForward", ("hidden", "activation", "dropout")),
    "GateMLP": ("networks.FeedForward", ("hidden_units", "activation")),
    "FunctionMLP": ("networks.OneHiddenLayer", ("hidden_units", "activation")),
}
HEADS = {
    None: "PlainHead",
    "softmax": "SoftmaxHead",
    "normalized_sigmoid": "NormalizedSigmoidHead",
    "auxiliary": "AuxiliaryHead",
    "projection": "ProjectionHead",
}
MARKS = ("architecture", "hidden", "hidden_units", "activation", "image_size", "num_features")


class PlainConvNet(nn.Sequential):
    """The first convolutional network of MNISTConv: images (B, 1, 28, 28) -> logits."""

    def __init__(
        self, input_shape: tuple[int, ...], num_outputs: int, width: int = 32, dropout: float = 0.0
    ) -> None:
        super().__init__(
            *_block(input_shape[0], width, kernel_size=5, stride=2),
            *_block(width, 2 * width),
            *_block(2 * width, 2 * width),
            nn.MaxPool2d(2),
            *_block(2 * width, 4 * width),
            *_block(4 * width, 4 * width),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(4 * width, num_outputs),
        )


def _block(inputs: int, outputs: int, kernel_size: int = 3, stride: int = 1) -> list[nn.Module]:
    padding = kernel_size // 2
    convolution = nn.Conv2d(inputs, outputs, kernel_size, stride, padding, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def translate(class_path: str, init_args: InitArgs) -> tuple[str, InitArgs]:
    """Returns today's class path and init arguments; those of today come back as they are."""
    name, new = class_path.rpartition(".")[2], dict(init_args)
    if name not in SHAPES or not any(mark in init_args for mark in MARKS):
        return class_path, new
    shapes = SHAPES[name]
    if name == "FunctionMLP" and "dimensions" in new:
        shapes = {"input_shape": [new.pop("dimensions")]}
    if name in ("GAN", "ConditionalGAN"):
        _translate_gan(name, new)
    else:
        new["network"] = _take_network(name, new)
        if "flip" in new and new["flip"] is None:
            new["flip"] = "auto"
    renamed = "ImageClassifier" if shapes is IMAGES else name
    return f"models.{renamed}", {**shapes, **new}


def translate_hyperparameters(hparams: dict[str, Any], class_name: str) -> dict[str, Any]:
    """Translates a checkpoint's hyperparameters; their `_class_path` overrides `class_name`."""
    path, new = translate(hparams.get("_class_path", class_name), hparams)
    if "_class_path" in hparams:
        new["_class_path"] = path
    return new


def translate_config(config: dict[str, Any]) -> dict[str, Any]:
    """Translates the model in the config of a run. The data give the model its shapes."""
    model = config.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("init_args") or {}, dict):
        return config
    if not isinstance(model.get("class_path"), str):
        return config
    path, init_args = translate(model["class_path"], model.get("init_args") or {})
    return {**config, "model": {**model, "class_path": path, "init_args": init_args}}


def _take_network(name: str, args: InitArgs) -> InitArgs:
    path, names = NETWORKS[name]
    taken = {key: args.pop(key) for key in names if key in args}
    if name == "MNISTConv" and args.pop("architecture", "modern") == "lecture":
        path, taken = "networks.LectureConvNet", {}
    elif name == "MNISTConv" and "erase" in args and "flip_in_evaluation" not in args:
        path = "legacy.PlainConvNet"  # a run wrote all arguments, of which this came with the other
    if name == "GateMLP" and "hidden_units" in taken:
        taken["hidden"] = [taken.pop("hidden_units")]
    if "image_size" in taken:
        taken["pad_to_multiple_of"] = taken.pop("image_size")
    return _part(path, taken)


def _translate_gan(name: str, args: InitArgs) -> None:
    lecture, width = args.pop("architecture") == "lecture", args.pop("width", 64)
    if lecture:
        plain = name == "GAN"
        trunk = {"channels": 64 if plain else 128, "activation": "tanh" if plain else "relu"}
        args["generator"] = _part("gan_networks.LectureGenerator", {})
        args["trunk"] = _part("gan_networks.LectureTrunk", trunk)
        args["initialization"] = "glorot"
    else:
        args["generator"] = _part("gan_networks.ModernGenerator", {"width": width})
        args["trunk"] = _part("gan_networks.ModernTrunk", {"width": width})
    head = HEADS[args.pop("head", None)]
    smoothing, weight = args.pop("label_smoothing", 0.0), args.pop("class_weight", 1.0)
    args.pop("loss", None)  # there was one
    options: InitArgs = {}
    if head in ("PlainHead", "AuxiliaryHead", "ProjectionHead"):
        options["loss"] = _part("losses.NonSaturating", {"label_smoothing": smoothing})
    if head in ("AuxiliaryHead", "ProjectionHead"):
        options["class_weight"] = weight
    args["head"] = _part(f"gan_heads.{head}", options)


def _part(path: str, init_args: InitArgs) -> InitArgs:
    path = path if path.startswith("metrics.") else f"models.{path}"
    return {"class_path": path, "init_args": init_args}
