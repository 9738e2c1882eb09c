"""`maximize` draws what a trained network has learned."""

from pathlib import Path
from typing import Any

import pytest
import torch

import ladder
from commands import maximize as command
from commands.maximize import draw_maximized, draw_occlusion
from models import ConditionalGAN, GateMLP
from models.averaging import Averaging
from models.gan.discriminator import Head
from models.gan.heads import ProjectionHead
from models.gan.lecture import NormalizedSigmoidHead, SoftmaxHead
from models.inspection import activations, maximize
from runtime.errors import UserError
from tests.callbacks.runs import probabilities
from tests.models.classifiers import convnet
from tests.models.gans import small


def test_it_draws_the_class_scores_and_occlusion_maps(classifier: Path, tmp_path: Path) -> None:
    written = ladder.maximize(classifier, steps=2, occlusion=2, out=tmp_path)
    assert {path.name for path in written} >= {"maximize_class_scores.png", "occlusion.png"}
    assert all(path.is_file() for path in written)


def test_one_unit_of_a_named_layer_without_data(classifier: Path, tmp_path: Path) -> None:
    model = ladder.load(classifier)
    layer = next(n for n, m in model.network.named_modules() if isinstance(m, torch.nn.Conv2d))
    written = ladder.maximize(classifier, f"network.{layer}", 1, 2, occlusion=0, out=tmp_path)
    assert written[0].name == f"maximize_{layer}.png"


@pytest.mark.parametrize(("side", "shown"), [(3, False), (5, True)])
def test_filters_are_drawn_only_if_they_can_be_read(side: int, shown: bool) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, side), torch.nn.Flatten())
    part = command.Inspected(network, network, "1", (1, 8, 8), None)
    assert (command._filters(part) is not None) is shown
    unread = command.Inspected(torch.nn.Linear(3, 3), network, "1", (1, 8, 8), None)
    assert command._filters(unread) is None


@pytest.mark.parametrize("head", [SoftmaxHead, NormalizedSigmoidHead, ProjectionHead])
def test_a_gans_discriminator_is_looked_into(head: type[Head]) -> None:
    part = command.inspect(small(ConditionalGAN, head=head))
    images = maximize(part.network, "trunk.0", None, (1, 28, 28), steps=3, forward=part.forward)
    assert images.shape == (2, 1, 28, 28)
    reached = activations(part.network, "trunk.0", images, part.forward)
    assert (reached.diagonal() > reached.flip(0).diagonal()).all()
    assert part.layer in dict(part.network.named_modules())


def test_a_gans_run_is_drawn(cgan: Path, tmp_path: Path) -> None:
    written = ladder.maximize(cgan, steps=2, out=tmp_path)
    assert "maximize_classes.png" in {path.name for path in written}


def test_averaged_weights_are_the_ones_looked_into() -> None:
    model = convnet(average=Averaging(0.9))
    assert model.ema is not None
    assert command.inspect(model).network is model.ema.network


def test_what_has_no_images_is_refused(iris: Path) -> None:
    with pytest.raises(UserError, match=r"inputs of GateMLP have shape \(2,\)"):
        command.inspect(GateMLP())
    with pytest.raises(UserError, match=r"inputs of IrisMLP have shape \(4,\)"):
        ladder.maximize(iris)


def test_titles_name_units_and_colours_span_0_to_1() -> None:
    images = torch.rand(2, 1, 8, 8)
    axes = draw_maximized(images, torch.tensor([1.5, -2.0]), ["cat", "dog"], "5").axes[0]
    assert [text.get_text() for text in axes.texts] == ["cat\n1.5", "dog\n-2"]
    figure = draw_occlusion(images, torch.rand(2, 3, 3), ["cat: 0.9", "dog: 0.8"], 4, 2)
    shown = figure.axes[2].images[0]
    assert shown.get_extent() == [0.5, 6.5, 6.5, 0.5]  # middles at 1.5, 3.5 and 5.5 of 0 to 7
    assert figure.axes[2].get_xlim() == figure.axes[0].get_xlim() == (-0.5, 7.5)
    assert shown.get_clim() == (0, 1)
    assert figure.axes[1].get_title() == "dog: 0.8"


def test_the_least_certain_of_the_images_that_are_right_are_occluded(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(
        command, "draw_occlusion", lambda *args: seen.append(args) or draw_occlusion(*args)
    )
    ladder.maximize(classifier, steps=1, occlusion=3, out=tmp_path)
    ((_, _, titles, *_),) = seen
    data = ladder.data_of(classifier)
    targets, p = probabilities(ladder.load(classifier), data)
    right = p.argmax(1) == targets
    least = p[right].max(dim=1).values.sort().values[:3]
    found = [float(title.split("\n")[1]) for title in titles]
    assert found == pytest.approx(least.tolist(), abs=6e-3)
