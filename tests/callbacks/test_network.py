"""A new run tells its networks, and a network that cannot be drawn does not end it."""

from functools import partial
from typing import Any

import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.utilities.model_summary import summarize
from torch import nn

from callbacks import Figures
from callbacks.network import layers_of, summary_table
from figures.network import Layer
from models import GAN, ConditionalGAN, Flow, IrisMLP, VariationalAutoencoder
from models.gan.conditional_discriminators import ProjectionDiscriminator
from models.gan.lecture import LectureGenerator, LectureTrunk
from models.gan.networks import ModernGenerator, ModernTrunk
from models.plane import PlaneVelocity
from models.training import EMAOptions
from models.unet import UNet
from tests.callbacks.runs import pictures, trainer
from tests.models.gans import small

LECTURE = {"generator": LectureGenerator, "trunk": LectureTrunk}


def test_the_summary_of_a_gan_has_its_three_networks():
    model = small(average=EMAOptions(0.9))
    lines = [line.split() for line in summary_table(summarize(model)).splitlines()]
    counts = {
        name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()
    }
    assert [line[0] for line in lines[:3]] == ["generator", "discriminator", "ema"]
    for name, _, count in lines[:3]:
        assert int(count.replace(",", "")) == counts[name]
    total = sum(counts.values())
    assert " ".join(lines[3]) == f"{total:,} parameters, {counts['ema']:,} of them not trained"


def test_a_new_run_draws_its_networks_once(tmp_path):
    run = trainer(tmp_path)
    Figures().on_fit_start(run, IrisMLP())
    assert pictures(tmp_path) == {"network.png"}
    assert (tmp_path / "run" / "figures" / "network.svg").is_file()
    again = trainer(tmp_path / "again")
    again.ckpt_path = "last.ckpt"
    Figures().on_fit_start(again, IrisMLP())
    assert not pictures(tmp_path / "again")


def test_a_generator_of_other_inputs_is_a_warning(tmp_path):
    class Other(GAN):
        def forward(self, *_: Any, **__: Any) -> Any:
            raise TypeError("it needs a text")

    with pytest.warns(UserWarning, match="network.png was not drawn: TypeError: it needs a text"):
        Figures().on_fit_start(trainer(tmp_path), Other((1, 28, 28)))


def test_the_layers_of_the_slides_iris_network():
    (layers,) = layers_of(IrisMLP(average=EMAOptions(0.9))).values()
    assert [layer[:3] for layer in layers if layer.kind != "Flatten"] == [
        ("input", (4,), 0),
        ("Linear", (128,), 640),
        ("Sigmoid", (128,), 0),
        ("Linear", (3,), 387),
    ]


def test_all_parameters_of_a_gan_are_listed_once_and_nothing_changes():
    model = ConditionalGAN((1, 28, 28), 10, average=EMAOptions(0.9), spectral_norm=True)
    model.discriminator.eval()  # frozen, say
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = layers_of(model)
    for name in ("generator", "discriminator"):
        count = sum(p.numel() for p in model.get_submodule(name).parameters())
        assert sum(layer.parameters for layer in found[name]) == count
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes


def test_noise_and_class_are_as_long_as_what_the_generator_gets():
    found = layers_of(ConditionalGAN((1, 28, 28), 10, latent_dim=128, **LECTURE))
    assert [layer[:2] for layer in found["generator"][:4]] == [
        ("noise", (128,)), ("class", (10,)), ("Linear", (1024,)), ("Tanh", (1024,)),
    ]  # fmt: skip
    assert found["discriminator"][0][:2] == ("image", (1, 28, 28))
    assert not any(layer.kind == "class" for layer in layers_of(GAN((1, 28, 28)))["generator"])


def sources(layers: list[Layer]) -> list[list[int]]:
    return [sorted(layer.sources) for layer in layers]


def test_a_skip_connection_and_parallel_outputs_are_seen():
    generator = partial(ModernGenerator, width=2, hidden=[4], skip=True)
    trunk = partial(ModernTrunk, width=2)
    model = ConditionalGAN((1, 28, 28), 10, generator=generator, trunk=trunk,
                           discriminator=ProjectionDiscriminator)  # fmt: skip
    found = layers_of(model)
    assert sources(found["generator"])[:7] == [[], [], [0, 1], [2], [3], [0, 1, 4], [5]]
    flat = [layer.kind for layer in found["discriminator"]].index("Flatten")
    assert sources(found["discriminator"])[flat:] == [[flat - 1], [flat], [flat], [flat]]


def test_the_sum_of_a_residual_block_and_each_input_of_a_network_are_sources():
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs + self.second(self.first(inputs).relu_())

    network = nn.Sequential(Block(), nn.ReLU(inplace=True), Block())
    model = BoringModel()
    model.layer = network
    model.example_input_array = torch.zeros(2, 2)
    (layers,) = layers_of(model).values()
    assert sources(layers) == [[], [0], [1], [0, 2], [3], [4]]
    (layers,) = layers_of(Flow((1, 16, 16), 3, partial(UNet, widths=[4]))).values()
    assert sources(layers)[3:8] == [[1], [3], [4], [2], [0, 1]]  # time, class, image
    assert layers[7].kind == "Conv2d"
    (layers,) = layers_of(Flow((2,), None, PlaneVelocity)).values()
    assert sources(layers)[2:4] == [[0, 1], [2]]


def test_a_model_without_an_example_has_no_list():
    assert layers_of(BoringModel()) == {}


def test_a_flow_is_listed_once_and_an_autoencoder_as_both_of_its_networks():
    flow = Flow((1, 16, 16), 3, partial(UNet, widths=[4, 8]), guidance=0.5, class_dropout=0.1)
    (layers,) = layers_of(flow).values()
    assert [layer.kind for layer in layers[:3]] == ["image", "time", "class"]
    assert sum(layer.parameters for layer in layers) == count(flow.network)
    model = VariationalAutoencoder(
        (1, 28, 28), 10, partial(ModernTrunk, width=2), partial(ModernGenerator, width=2),
        average=EMAOptions(0.9),
    )  # fmt: skip
    found = layers_of(model)
    assert [*found] == ["encoder", "decoder"]
    assert sum(layer.parameters for part in found.values() for layer in part) == count(
        model.network
    )
    assert "EncoderDecoder" in summary_table(summarize(model))


def test_points_are_not_called_images():
    (layers,) = layers_of(Flow((2,), None, PlaneVelocity)).values()
    assert [layer.kind for layer in layers[:2]] == ["point", "time"]


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())
