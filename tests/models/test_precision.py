"""Every family of models trains, is validated and draws in every precision of a CPU."""

from functools import partial
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer

from datamodules import Functions, Gates, Iris, Points
from models import (
    GAN,
    ACGANDiscriminator,
    Classifier,
    ConditionalGAN,
    ConvNet,
    DiffAugment,
    Drift,
    Flow,
    FunctionMLP,
    GateMLP,
    ImageClassifier,
    InstanceNoise,
    IrisMLP,
    ModernGenerator,
    ModernTrunk,
    PlaneVelocity,
    ProjectionDiscriminator,
    SelfConditionedGAN,
    UNet,
    VariationalAutoencoder,
)
from models.gan.penalties import Penalties
from models.generative import Generative
from models.sampling import generate
from models.training import EMAOptions
from tests.datasets import Stripes
from tests.models.classifiers import fit

SHAPE = (1, 16, 16)
WIDE: dict[str, Any] = {"latent_dim": 4, "average": EMAOptions(0.9)}
NETWORKS: dict[str, Any] = {
    "generator": partial(ModernGenerator, width=2),
    "trunk": partial(ModernTrunk, width=2, minibatch_std=True),
    "penalties": Penalties(r1=0.1, every=1),
    "augment": InstanceNoise,
}
U_NET = partial(UNet, widths=(4, 4), blocks=(1, 1))
MODELS = {
    "gan": lambda: GAN(SHAPE, **NETWORKS, **WIDE),
    "cgan": lambda: ConditionalGAN(
        SHAPE, 4, discriminator=partial(ProjectionDiscriminator, nearness=2), **NETWORKS, **WIDE
    ),
    "auxiliary": lambda: ConditionalGAN(
        SHAPE, 4, discriminator=ACGANDiscriminator, spectral_norm=True,
        **(NETWORKS | {"augment": DiffAugment}), **WIDE,
    ),
    "clusters": lambda: SelfConditionedGAN(SHAPE, 3, **NETWORKS, **WIDE),
    "vae": lambda: VariationalAutoencoder(
        SHAPE, 4, NETWORKS["trunk"], NETWORKS["generator"], **WIDE
    ),
    "flow": lambda: Flow(SHAPE, 4, U_NET, steps=2, guidance=1.0, class_dropout=0.5),
    "drift": lambda: Drift(
        SHAPE, 4, NETWORKS["generator"], generated=8, scales=(1, 2), windows=1, guidance=0.1,
        **WIDE,
    ),
    "plane flow": lambda: Flow((2,), 8, PlaneVelocity, steps=2),
    "images": lambda: ImageClassifier(
        SHAPE, 4, partial(ConvNet, width=2), shift=1, flip=True, erase=3, flip_in_evaluation=True
    ),
    "dense": lambda: Classifier(SHAPE, 4, loss="mse", label_smoothing=0.1),
    "iris": lambda: IrisMLP(variation=0.1, average=EMAOptions(0.9)),
    "gate": lambda: GateMLP(),
    "function": lambda: FunctionMLP(),
}  # fmt: skip
DATA: dict[str, Any] = {
    "iris": Iris,
    "gate": Gates,
    "function": Functions,
    "plane": partial(Points, labelled=True),
}


class Draw(Callback):
    """Draws the sample grid at the end of a validation, as the pictures of a run do."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if isinstance(pl_module, Generative):
            latents, labels = pl_module.sample_grid()
            images = generate(pl_module, latents, labels)
            assert images.dtype == torch.float32
            assert images.isfinite().all()
            realness = pl_module.realness(images, labels)
            assert realness is None or realness.isfinite().all()


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true", "64-true"])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_trains_and_draws_in_each_precision(name, precision):
    model = MODELS[name]()
    data = DATA.get(name.split()[0], partial(Stripes, 1, 16, num_train=64, num_eval=32))()
    before = [values.clone() for values in model.parameters()]
    run = fit(
        model, data, Draw(), precision=precision, limit_train_batches=2, limit_val_batches=1,
        num_sanity_val_steps=0, log_every_n_steps=1,
    )  # fmt: skip
    trained = list(model.parameters())
    assert all(values.isfinite().all() for values in trained)
    assert any(not torch.equal(a.to(b.dtype), b) for a, b in zip(before, trained, strict=True))
    logged = [value for key, value in run.callback_metrics.items() if key.endswith("loss")]
    assert logged
    assert all(value.isfinite() for value in logged)
