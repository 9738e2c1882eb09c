"""One, two and four processes train the same network: to rounding, where nothing is a rank's own.

Ranks share the noise and the data of a single process.

`python -m tests.test_world_size` prints the table.
"""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from torch import nn

from datamodules import Images
from models import (
    ConditionalGAN,
    DiffAugment,
    Drift,
    Flow,
    ImageClassifier,
    ModernGenerator,
    ModernTrunk,
    SelfConditionedGAN,
    UNet,
    VariationalAutoencoder,
)
from models.fast_layers import Dropout
from models.gan.discriminator import PlainDiscriminator
from models.gan.instance_noise import InstanceNoise
from models.gan.losses import Relativistic
from models.gan.penalties import Penalties
from models.networks import FeedForward
from models.training import EMAOptions, Schedule
from tests import ranks
from tests.datasets import Stripes
from tests.models.classifiers import SHAPE, convnet, dense
from tests.models.gans import modern, sgd, small

STEPS, BATCH = 8, 32
LARGER = {"drift": 320}  # it needs some images of each class

# A gradient is a mean over 32 images. In other groups its at most 31 additions, and those within
# one image, are rounded differently: a relative error of about 32 eps of the mean size of the
# terms. Weights and losses here are of order 1 and an update (learning rate times gradient) is
# less, so that one differs by less than 32 eps, and eight of them, each starting from the error of
# the one before and adding to it, by 8 x 32 eps = 3e-5. What is printed is far below it.
ROUNDING = STEPS * BATCH * torch.finfo(torch.float32).eps


def without_batch_norm(model: Any) -> Any:
    """The same networks, each batch norm replaced by nothing."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    return model


def grouped_sgd(parameters: Any) -> torch.optim.Optimizer:
    """Two groups of parameters, as Muon has."""
    parameters = [*parameters]
    matrices = [parameter for parameter in parameters if parameter.dim() > 1]
    vectors = [parameter for parameter in parameters if parameter.dim() < 2]
    return torch.optim.SGD([{"params": matrices}, {"params": vectors}], lr=0.1)


def gan() -> Any:
    return small(
        **modern(4), penalties=Penalties(r1=1.0, every=2), gradient_clip_val=1.0,
        generator_optimizer=grouped_sgd, discriminator_optimizer=grouped_sgd,
    )  # fmt: skip


def penalized_gan() -> Any:
    """Every penalty and view, the pairs of Relativistic, and a schedule."""
    return small(
        **modern(4), discriminator=partial(PlainDiscriminator, loss=Relativistic),
        spectral_norm=True,
        penalties=Penalties(1.0, 1.0, 2), average=EMAOptions(0.9),
        augment=partial(InstanceNoise, noise=0.1, noise_steps=4),
        schedule=Schedule("linear"), generator_optimizer=sgd(0.1), discriminator_optimizer=sgd(0.1),
    )  # fmt: skip


def clustered_gan() -> Any:
    return small(
        SelfConditionedGAN, **modern(4), clusters=8, penalties=Penalties(r1=1.0, every=2),
        augment=DiffAugment, generator_optimizer=sgd(0.1), discriminator_optimizer=sgd(0.1),
    )  # fmt: skip


def with_dropout(model: Any) -> Any:
    """The same GAN, whose discriminator has dropout behind its features, as the lecture's has."""
    model.discriminator.trunk.append(Dropout(0.5))
    return model


EQUAL = {
    "MLP": lambda: dense([32], "tanh", optimizer=sgd()),
    "CNN": lambda: without_batch_norm(convnet(4, optimizer=sgd())),
    "GAN": lambda: without_batch_norm(gan()),
    "MLP, dropout": lambda: ImageClassifier(
        SHAPE,
        10,
        partial(FeedForward, hidden=32, activation="tanh", dropout=0.2),
        optimizer=sgd(),
    ),
    "CNN, augmentation": lambda: without_batch_norm(
        convnet(
            4, 0.2, optimizer=sgd(), shift=2, rotation=10, zoom=0.1, shear=0.1, flip=True, erase=6
        )
    ),
    "CNN, smoothed labels": lambda: without_batch_norm(
        convnet(4, optimizer=sgd(), rotation=10, label_smoothing=0.1)
    ),
    "GAN, penalties": lambda: without_batch_norm(penalized_gan()),
    "GAN, clusters": lambda: without_batch_norm(clustered_gan()),
    "GAN, dropout": lambda: with_dropout(without_batch_norm(gan())),
}
EQUAL |= {
    "flow": lambda: Flow(
        SHAPE, 10, partial(UNet, widths=(8, 16), blocks=(1, 1)), class_dropout=0.1,
        optimizer=sgd(1e-3)
    ),
    "autoencoder": lambda: without_batch_norm(
        VariationalAutoencoder(
            SHAPE, 10, partial(ModernTrunk, width=4), partial(ModernGenerator, width=4),
            optimizer=sgd(1e-4),  # a loss of hundreds of nats has large gradients
        )
    ),
    "drift": lambda: without_batch_norm(
        Drift(
            SHAPE, 10, partial(ModernGenerator, width=4), generated=32, guidance=0.5,
            windows=2, optimizer=sgd(0.1),
        )
    ),
}  # fmt: skip
DIFFERENT = {
    "CNN, batch norm": lambda: convnet(4, optimizer=sgd()),
    "GAN, batch norm": gan,
}


EXACT = {  # in float64: Adam divides by a gradient's size, also by that of rounding
    "conditional GAN": lambda: without_batch_norm(
        small(
            ConditionalGAN,
            **modern(4),
            penalties=Penalties(r1=1.0, every=2),
            gradient_clip_val=1.0,
            fake_labels="data",  # of unequal classes: 13 or 12 images
        )
    )
}


class Record(Callback):
    """Records the logged values after each batch, averaged over ranks, and a model's noise."""

    def __init__(self) -> None:
        self.values: list[torch.Tensor] = []
        self.noise: list[Any] = []  # latents and labels of a rank's own share

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        if draw := getattr(pl_module, "local_latents", None):
            pl_module.local_latents = lambda *args: self.noise.append(draw(*args)) or self.noise[-1]

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        logged = {k: v for k, v in trainer.callback_metrics.items() if "loss" in k}
        self.values.append(torch.stack([logged[k] for k in sorted(logged)]))


def fit(kind: str, world_size: int, folder: Path) -> None:
    """One rank's part of the run, and what it ends with."""
    torch.manual_seed(0)
    record, model, exact = Record(), (EQUAL | DIFFERENT | EXACT)[kind](), kind in EXACT
    trainer = Trainer(
        max_steps=STEPS, accelerator="cpu", devices=world_size, logger=False,
        precision="64-true" if exact else "32-true",
        strategy="ddp" if world_size > 1 else "auto", callbacks=[record], num_sanity_val_steps=0,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        log_every_n_steps=1,
    )  # fmt: skip
    data: Any = Images(dataset="digits", batch_size=LARGER.get(kind, BATCH))
    if exact:  # the last shares of its validation are 9 and 10 images
        data = Stripes(1, 28, num_classes=10, num_train=128, num_eval=51, batch_size=BATCH)
    trainer.fit(model, datamodule=data)
    if kind in ("flow", "autoencoder"):  # whose validation draws noise
        (found,) = trainer.validate(model, datamodule=data, verbose=False)
        record.values.append(torch.tensor([found[k] for k in sorted(found)]))
    result = {
        "losses": torch.cat([x.flatten() for x in record.values]),
        "weights": {name: value.detach() for name, value in model.named_parameters()},
        "noise": record.noise,
        "metrics": {name: value.item() for name, value in trainer.callback_metrics.items()},
    }
    torch.save(result, folder / f"{trainer.global_rank}.pt")


def train(kind: str, world_size: int) -> list[dict[str, Any]]:
    """Losses (steps, kinds of loss) and weights, on which ranks agree to the bit; their noise."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        processes = ranks.start(world_size, lambda: fit(kind, world_size, folder), folder)
        codes = ranks.end(processes, 120)
        assert codes == [0] * world_size, (folder / "0.log").read_text()[-3000:]
        results = [torch.load(folder / f"{rank}.pt") for rank in range(world_size)]
    for other in results[1:]:
        assert torch.equal(other["losses"], results[0]["losses"])
        for weight, same in zip(
            results[0]["weights"].values(), other["weights"].values(), strict=True
        ):
            assert torch.equal(weight, same)
    return results


def difference(one: dict[str, Any], many: dict[str, Any]) -> tuple[float, float]:
    """The largest difference of a loss, and of a weight."""
    size = one["losses"].abs().max().clamp(min=1)  # of an ELBO, hundreds of nats
    losses = ((one["losses"] - many["losses"]).abs().max() / size).item()
    weights = [(one["weights"][k] - v).abs().max().item() for k, v in many["weights"].items()]
    return losses, max(weights)


@pytest.mark.ddp
def test_two_ranks_share_the_noise_of_one_process():
    """Sums are taken in another order, and what Adam makes of that stays below 1e-9."""
    (one,), two = train("conditional GAN", 1), train("conditional GAN", 2)
    for name, weight in one["weights"].items():
        torch.testing.assert_close(weight, two[0]["weights"][name], rtol=1e-9, atol=1e-9)
    for i, whole in enumerate(one["noise"]):
        first, second = (rank["noise"][i] for rank in two)
        assert not torch.isclose(first[0], second[0]).any()
        for together, *shares in zip(whole, first, second, strict=True):
            assert torch.equal(together, torch.cat(shares))
    assert one["metrics"] == pytest.approx(two[0]["metrics"], rel=1e-9)


@pytest.mark.slow
@pytest.mark.ddp
@pytest.mark.parametrize("kind", EQUAL)
def test_the_number_of_processes_changes_nothing_but_rounding(kind):
    (one,) = train(kind, 1)
    assert len(one["losses"]) >= STEPS
    for world_size in [2, 4] if kind in ("MLP", "CNN", "GAN", "drift") else [2]:
        assert max(difference(one, train(kind, world_size)[0])) < ROUNDING  # others share the code


@pytest.mark.slow
@pytest.mark.ddp
@pytest.mark.parametrize("kind", DIFFERENT)
def test_batch_norm_acts_on_a_ranks_own_share(kind):
    """So that the noise of training changes, and not more.

    Each of four ranks normalises by the statistics of its 8 images instead of all 32, whose means
    scatter by 1/sqrt(8) instead of 1/sqrt(32) standard deviations. That is visible, and over 8
    steps of 0.1 remains a fraction of the loss and of the weights.
    """
    (one,), (four, *_) = train(kind, 1), train(kind, 4)
    losses, weights = difference(one, four)
    assert ROUNDING < losses < 0.5 * one["losses"].max().item()
    assert ROUNDING < weights < 0.25


def main() -> None:
    """Prints the largest differences from one process."""
    print(f"rounding explains up to {ROUNDING:.1e}\n{'':16} processes  loss     weight")
    for kind in EQUAL | DIFFERENT:
        (one,) = train(kind, 1)
        for world_size in (2, 4):
            losses, weights = difference(one, train(kind, world_size)[0])
            print(f"{kind:16} {world_size:9}  {losses:.1e}  {weights:.1e}")


if __name__ == "__main__":
    main()
