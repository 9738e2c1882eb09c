"""The Trainer's method `maximize` draws a trained network into its run's folder."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer

from commands import maximize as command
from commands.maximize import Maximization, inspect
from commands.maximize_figures import (
    draw_filters,
    draw_maximized,
    draw_occlusion,
    probability_range,
)
from models import ConditionalGAN, GateMLP
from models.averaging import Averaging
from models.gan.heads import Head, ProjectionHead
from models.gan.lecture import NormalizedSigmoidHead, SoftmaxHead
from models.inspection import activations, maximize
from runtime.errors import UserError
from runtime.run_folder import RunFolder
from tests.callbacks.runs import SHAPES, Pictures, Small, digits, probabilities, trainer
from tests.models.classifiers import convnet
from tests.models.gans import small


class MaximizingTrainer(Maximization, Trainer):
    pass


def run(folder: Path, *callbacks: Any) -> Any:
    return trainer(folder, *callbacks, kind=MaximizingTrainer)


def test_it_draws_the_checkpoints_network_into_the_runs_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = Small()
    torch.nn.init.constant_(trained.network[1].weight, 0.25)
    fit = trainer(tmp_path, max_steps=0)
    fit.fit(trained, datamodule=digits())
    fit.save_checkpoint(tmp_path / "last.ckpt")
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(
        command, "draw_filters", lambda filters: seen.append(filters) or draw_filters(filters)
    )
    folder = RunFolder(tmp_path, "experiment")
    run(tmp_path, folder).maximize(Small(), digits(), tmp_path / "last.ckpt", steps=2, occlusion=2)
    figures = tmp_path / "experiment" / "version_0" / "figures"
    pictures = {"maximize_class_scores.png", "filters.png", "occlusion.png"}
    assert {path.name for path in figures.iterdir()} == pictures
    assert (seen[0] == 0.25).all()
    assert "untrained" not in capsys.readouterr().out


def test_one_unit_of_a_named_layer_elsewhere(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, out = convnet(), tmp_path / "out"
    run(tmp_path).maximize(model, layer="network.3", unit=1, steps=2, blur=0.0, out=out)
    assert {path.name for path in out.iterdir()} == {"maximize_3.png", "filters.png"}  # no data


@pytest.mark.parametrize("scale", [255.0, 1.0])
def test_images_stay_within_the_range_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: float
) -> None:
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(
        command,
        "draw_maximized",
        lambda images, *rest: seen.append(images) or draw_maximized(images, *rest),
    )
    run(tmp_path).maximize(Small(), digits(scale=scale), steps=80, blur=0.0, l2=0.0, occlusion=0)
    high = 255 / scale
    assert seen[0].min() == 0
    assert seen[0].max() == high
    assert ((seen[0] > 0.1 * high) & (seen[0] < 0.9 * high)).float().mean() < 0.5


@pytest.mark.parametrize("head", [SoftmaxHead, NormalizedSigmoidHead, ProjectionHead])
def test_a_gans_discriminator_is_looked_into(tmp_path: Path, head: type[Head]) -> None:
    model = small(ConditionalGAN, head=head)
    inspected = inspect(model)
    network, forward = inspected.network, inspected.forward
    images = maximize(network, "trunk.0", None, (1, 28, 28), steps=3, forward=forward)
    assert images.shape == (2, 1, 28, 28)
    reached = activations(network, "trunk.0", images, forward)
    assert (reached.diagonal() > reached.flip(0).diagonal()).all()
    run(tmp_path).maximize(model, digits(), steps=2, out=tmp_path / "out")
    pictures = {"maximize_classes.png", "filters.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == pictures


def test_an_unconditional_gan_has_one_unit_at_the_end(tmp_path: Path) -> None:
    run(tmp_path).maximize(small(), steps=2, out=tmp_path / "out")
    assert (tmp_path / "out" / "maximize_realness.png").is_file()


@pytest.mark.parametrize("shape", SHAPES)
def test_images_of_any_shape(shape: tuple[int, int, int], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(tmp_path).maximize(Small(shape, 4), Pictures(shape), steps=2, occlusion=2, out=out)
    pictures = {"maximize_class_scores.png", "filters.png", "occlusion.png"}
    assert {path.name for path in out.iterdir()} == pictures


def test_a_colour_image_is_shown_in_colour() -> None:
    images = torch.tensor([0.5, 0.25, 0.0]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    shown = draw_occlusion(images, torch.rand(1, 5, 5), ["a"], 7, 2).axes[0].images[0]
    assert shown.get_array()[0, 0].tolist() == [1.0, 0.5, 0.0]


def test_units_are_named_if_there_is_one_per_class(tmp_path: Path) -> None:
    model = small(ConditionalGAN, head=SoftmaxHead)  # unit 0: "fake", unit 10: digit 9
    run(tmp_path).maximize(model, digits(), unit=10, steps=1, out=tmp_path / "out")
    assert (tmp_path / "out" / "maximize_classes.png").is_file()


def test_averaged_weights_are_the_ones_looked_into() -> None:
    model = convnet(average=Averaging(0.9))
    assert model.ema is not None
    assert inspect(model).network is model.ema.network


def test_what_has_no_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"inputs of GateMLP have shape \(2,\)"):
        run(tmp_path).maximize(GateMLP())


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="--out .*file/in: cannot be written to"):
        run(tmp_path).maximize(convnet(), digits(), steps=1, out=tmp_path / "file" / "in")


def test_titles_name_units_and_the_map_lies_on_the_image() -> None:
    images = torch.rand(2, 1, 8, 8)
    axes = draw_maximized(images, torch.tensor([1.5, -2.0]), ["cat", "dog"], "5").axes[0]
    assert [text.get_text() for text in axes.texts] == ["cat\n1.5", "dog\n-2"]
    maps = torch.rand(2, 3, 3)  # squares of 4 at 0, 2, 4 have their centres at 2, 4, 6
    figure = draw_occlusion(images, maps, ["cat: 0.9", "dog: 0.8"], size=4, stride=2)
    left, right, bottom, top = figure.axes[2].images[0].get_extent()
    assert (left, right, bottom, top) == (1, 7, 7, 1)
    assert figure.axes[1].get_title() == "dog: 0.8"


def test_colours_span_the_probabilities_that_are_there() -> None:
    maps = torch.tensor([0.6, 0.7, 0.75, 0.8]).view(1, 2, 2)
    figure = draw_occlusion(torch.rand(1, 1, 6, 6), maps, ["cat"], size=3, stride=3)
    shown = figure.axes[1].images[0]
    assert shown.get_clim() == pytest.approx((0.6, 0.8))
    assert shown.get_alpha() is None  # the colours are those of the colour bar
    ticks = [tick.get_text() for tick in figure.axes[2].get_yticklabels()]
    assert ticks == ["0.60", "0.70", "0.80"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [((0.2, 0.9), (0.2, 0.9)), ((0.999, 1.0), (0.95, 1.0)), ((0, 0), (0, 0.05))],
)
def test_a_flat_map_looks_flat(values: Any, expected: Any) -> None:
    assert probability_range(torch.tensor(values)) == pytest.approx(expected)


def test_the_least_certain_of_the_images_that_are_right_are_occluded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(
        command, "draw_occlusion", lambda *args: seen.append(args) or draw_occlusion(*args)
    )
    model, data = Small(), digits()
    run(tmp_path).maximize(model, data, steps=1, occlusion=3, out=tmp_path / "out")
    targets, p = probabilities(model, data)
    right = p.argmax(1) == targets
    least = p[right].max(dim=1).values.sort().values[:3]
    ((_, _, titles, size, _),) = seen
    assert [float(title.split("\n")[1]) for title in titles] == pytest.approx(
        least.tolist(), abs=6e-3
    )
    assert size == 14  # an untrained network hardly notices: the largest square
