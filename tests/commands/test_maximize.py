"""`maximize` draws what a trained network has learned."""

import collections
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import colormaps

import ladder
from commands import maximize as command
from commands.maximize import plot_maximized, plot_occlusion
from models import inspection
from runtime.errors import UserError


def test_it_draws_the_class_scores_and_occlusion_maps(classifier, tmp_path):
    written = ladder.maximize(classifier, steps=2, occlusion=2, out=tmp_path)
    assert {path.name for path in written} >= {"maximize_class_scores.png", "occlusion.png"}
    assert all(path.is_file() for path in written)


def test_averaged_weights_of_a_named_layer_are_drawn_without_data(
    classifier, tmp_path, monkeypatch
):
    seen: list[Any] = []
    whole = inspection.maximize_units
    monkeypatch.setattr(
        inspection,
        "maximize_units",
        lambda *args, **kwargs: seen.append(args) or whole(*args, **kwargs),
    )
    model = ladder.load(classifier)
    layer = next(n for n, m in model.network.named_modules() if isinstance(m, torch.nn.Conv2d))
    written = ladder.maximize(classifier, f"network.{layer}", 2, occlusion=0, out=tmp_path)
    assert written[0].name == f"maximize_{layer}.png"
    found = seen[0][0].state_dict()
    assert all(torch.equal(found[k], v) for k, v in model.ema.network.state_dict().items())
    assert any(not torch.equal(found[k], v) for k, v in model.network.state_dict().items())


def test_what_is_no_classifier_of_images_is_refused(iris, gan):
    for run, kind in ((iris, "IrisMLP"), (gan, "GAN")):
        with pytest.raises(UserError, match=f"this run's model is {kind}$"):
            ladder.maximize(run)


def test_titles_name_units_and_what_they_reach():
    images = torch.rand(2, 1, 8, 8)
    axes = plot_maximized(images, torch.tensor([1.5, -2.0]), ["cat", "dog"], "5").axes[0]
    assert [text.get_text() for text in axes.texts] == ["cat\n1.5", "dog\n-2"]


def test_maps_are_as_large_as_their_images_and_rows_are_short():
    images, maps = torch.rand(12, 1, 8, 8), torch.rand(12, 3, 3)
    figure = plot_occlusion(images, maps, ["cat\n0.9"] * 12, 4, 2)
    axes, bar = figure.axes
    places = {text.get_position() for text in axes.texts}
    assert sorted(collections.Counter(y for _, y in places).values()) == [2, 10]
    assert figure.get_figwidth() < 20
    assert bar.get_ylim() == (0, 1)
    shown = axes.images[0].get_array()
    nearest = [0, 0, 0, 1, 1, 2, 2, 2]  # of the middles of squares of 4 pixels, at 1.5, 3.5, 5.5
    wanted = colormaps["YlOrRd_r"](maps[0].numpy()[np.ix_(nearest, nearest)])
    corner = np.argwhere((np.abs(shown - wanted[0, 0, :3]) < 1e-6).all(axis=2))[0]
    found = shown[corner[0] : corner[0] + 8, corner[1] : corner[1] + 8]
    np.testing.assert_allclose(found, wanted[..., :3], atol=1e-6)


def test_the_least_certain_of_the_images_that_are_right_are_occluded(
    classifier, tmp_path, monkeypatch
):
    seen: list[Any] = []
    monkeypatch.setattr(
        command, "plot_occlusion", lambda *args: seen.append(args) or plot_occlusion(*args)
    )
    ladder.maximize(classifier, steps=1, occlusion=3, out=tmp_path)
    ((images, _, titles, *_),) = seen
    model, data = ladder.load(classifier), ladder.data_of(classifier)
    inputs, targets = data.on_after_batch_transfer((*data.splits.test,), 0)
    with torch.no_grad():
        p = torch.cat([model.probabilities(part) for part in inputs.split(250)])
    right = p.argmax(dim=1) == targets
    least = p[right].max(dim=1).values.argsort(stable=True)
    assert images.equal(inputs[right][least[:3]])
    assert not images.equal(inputs[right][least[-3:]])
    found = [float(title.split("\n")[1]) for title in titles]
    assert found == pytest.approx(p[right].max(dim=1).values[least[:3]].tolist(), abs=6e-3)
