"""The models that the benchmarks build themselves, and a Trainer that only trains."""

import logging
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning import Callback, Trainer

from datamodules import Images
from datamodules.sources import IMAGE_SHAPE
from models import GAN, VGG, ConditionalGAN, IrisMLP, MNISTConv

NARROW: dict[str, Callable[[], Any]] = {
    "cGAN": partial(ConditionalGAN, latent_dim=64, width=16),
    "CNN": partial(MNISTConv, width=16),
    "VGG-16": partial(VGG, width=0.125),
}
FULL: dict[str, Callable[[], Any]] = {
    "cGAN": partial(ConditionalGAN, latent_dim=64, ema_decay=0.999, r1_gamma=1.0),
    "CNN": MNISTConv,
    "VGG-16": VGG,
}
AVERAGED: dict[str, Callable[[], Any]] = {
    "lecture GAN": partial(GAN, architecture="lecture", latent="uniform"),
    "cGAN": partial(ConditionalGAN, latent_dim=64),
}


def lecture_gan(kind: str, reuse: bool) -> GAN:
    """Builds the lecture's `gan` or `cgan`, with the slides' fakes or with reused ones."""
    options: dict[str, Any] = {
        "architecture": "lecture",
        "latent": "uniform",
        "reuse_fakes": reuse,
        "fakes_in_eval_mode": not reuse,
    }
    return GAN(**options) if kind == "gan" else ConditionalGAN(head="normalized_sigmoid", **options)


def iris_network(arguments: dict[str, Any]) -> IrisMLP:
    """Builds the network of a config file from its `init_args`."""
    spec = arguments.get("optimizer")
    if spec is None:
        return IrisMLP(**arguments)
    optimizer = partial(getattr(torch.optim, spec["class_path"]), **spec.get("init_args", {}))
    return IrisMLP(**(arguments | {"optimizer": optimizer}))


def real_batch(size: int, device: str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Draws images (B, C, H, W) in [0, 1) and labels (B,) of the data sets' shape."""
    images = torch.rand(size, *IMAGE_SHAPE, device=device)
    return images, torch.randint(10, (size,), device=device)


def quiet_trainer(**options: Any) -> Trainer:
    """Returns a Trainer on the CPU that writes and prints nothing."""
    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def fit(model: Any, steps: int, batch: int, *callbacks: Callback, **options: Any) -> None:
    """Trains a model for some steps on scikit-learn's digits."""
    trainer = quiet_trainer(
        max_steps=steps,
        precision="32-true",
        limit_val_batches=0,
        callbacks=list(callbacks),
        **options,
    )
    trainer.fit(model, datamodule=Images(dataset="digits", batch_size=batch))


def use_one_thread_quietly() -> None:
    """Takes one thread, the fastest for small networks, and silences Lightning's reports."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
