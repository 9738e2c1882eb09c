"""Small GANs and a way to train them for a few steps."""

from collections.abc import Callable
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from datamodules import Images
from models import GAN, ConditionalGAN


def sgd(lr: float = 0.1) -> Callable[[Any], torch.optim.Optimizer]:
    return lambda parameters: torch.optim.SGD(parameters, lr=lr)


def small(kind: type[GAN] = GAN, **kwargs: Any) -> Any:
    torch.manual_seed(0)
    return kind(width=2, latent_dim=4, **kwargs)


KINDS = [GAN, ConditionalGAN]


def fit(
    model: LightningModule, *callbacks: Callback, batch_size: int = 16, **kwargs: Any
) -> Trainer:
    defaults = {"max_steps": 3, "limit_val_batches": 0, "accelerator": "cpu", "logger": False}
    trainer = Trainer(
        **(defaults | kwargs),
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=Images(dataset="digits", batch_size=batch_size))
    return trainer


def state(module: torch.nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in module.state_dict().values()]


def same(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))
