"""Flow matching: a closed form of its loss, its solvers, and what it refuses."""

import weakref

import pytest
import torch
from torch import nn

from models import Flow
from models.base import derive_seed
from models.plane import PlaneVelocity
from models.training import EMAOptions
from runtime.errors import UserError
from tests.models.closed_form import assert_same, seeded, step
from tests.models.gans import fit


class Linear(nn.Module):
    """Predicts a clean image a x_t + b, with a velocity that is linear in x_t."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(rate))

    def forward(self, points, times, classes):
        times = times.view(-1, *[1] * (points.dim() - 1))
        return points + (1 - times) * self.rate * points


class Best(nn.Module):
    """The mean of the clean image given x_t, for data and noise that are standard normal."""

    def forward(self, points, times, classes):
        t = times.view(-1, 1)
        return t / (t**2 + (1 - t) ** 2) * points


def flow(network, num_classes=None, **options) -> Flow:
    model = Flow((2,), num_classes, network=lambda shape, classes: network, **options)
    return model.eval()


def test_the_loss_of_gaussian_data_has_its_known_minimum():
    """Var(x - noise | x_t) of standard normal data is 1 / (t^2 + (1 - t)^2)."""
    model, random = flow(Best()), torch.Generator().manual_seed(0)
    images = (torch.randn(400_000, 2, generator=random, dtype=torch.float64) + 1) / 2
    noise = torch.randn(400_000, 2, generator=random, dtype=torch.float64)
    for time in (0.0, 0.3, 0.5, 0.9):
        times = torch.full((400_000,), time, dtype=torch.float64)
        found = model.loss(images, None, noise, times)
        assert found.item() == pytest.approx(1 / (time**2 + (1 - time) ** 2), rel=0.01)


class Told(nn.Module):
    """Predicts a clean image that depends on the point, the time and the class."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 2)

    def forward(self, points, times, classes):
        return self.layer(torch.cat([points, times[:, None], classes], dim=1)).tanh()


@pytest.mark.parametrize("mean", [-0.4, 3.5], ids=["amid noise", "nearly clean"])
def test_a_training_step_is_the_error_of_the_velocity(mean):
    """On the line from noise to image; where it ends, the error counts 1 / 0.05 at most."""
    options = {"time_mean": mean, "time_std": 0.7, "class_dropout": 0.3}
    model = flow(Told(), 3, **options).double().train()
    images, labels = torch.rand(40, 2).double(), torch.arange(40) % 3
    found = step(model, images, labels)

    with seeded():
        noise, normal, hidden = torch.randn(40, 2), torch.randn(40, 1), torch.rand(40) < 0.3
    t = 1 / (1 + (-(mean + 0.7 * normal)).exp())
    classes = torch.eye(3).double()[labels]
    classes[hidden] = 0
    clean, left = 2 * images - 1, 1 - t
    point = left * noise + t * clean
    predicted = (model.network.layer.weight @ torch.cat([point, t, classes], dim=1).T).T
    predicted = (predicted + model.network.layer.bias).tanh()
    error = (predicted - point) / left - (clean - noise)
    assert bool((left < 0.05).any()) == (mean > 0)
    error = torch.where(left < 0.05, (predicted - clean) / 0.05, error)
    assert_same(found, (error**2).sum() / 80, model.network.parameters())


def test_the_average_is_evaluated():
    model = flow(Linear(0.5), average=EMAOptions(0.9))
    batch = torch.rand(4, 2), None, torch.randn(4, 2), torch.rand(4)
    before = model.loss(*batch)
    torch.nn.init.constant_(model.network.rate, 9.0)
    assert torch.equal(model.loss(*batch), before)
    assert not torch.equal(model.train().loss(*batch), before)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_solvers_converge_at_their_order(solver, order):
    """dx/dt = r x from x: at t = 1 it is exp(r) x. The last step of Heun is Euler's."""
    latents = torch.tensor([[1.0, -2.0]])
    rate, errors = -1.3, []
    for steps in (8, 16):
        model = flow(Linear(rate), steps=steps, solver=solver)
        until = [*model.path(latents)][-2]  # without the last step
        exact = latents * torch.tensor(rate * (steps - 1) / steps).exp()
        errors.append((until - exact).norm().item())
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.25)


def test_heun_evaluates_the_velocity_at_both_ends_of_a_step():
    """dx/dt = 2t: the mean of both ends is exact, and the left end alone is too small."""

    class Speed(Linear):
        def forward(self, points, times, classes):
            return points + (1 - times.view(-1, 1)) * 2 * times.view(-1, 1)

    latents = torch.tensor([[1.0, -2.0]])
    until = [*flow(Speed(0.0), steps=4).path(latents)][-2]
    torch.testing.assert_close(until, latents + 0.75**2)


@pytest.mark.parametrize("steps", [5, 100])
def test_a_path_ends_at_the_clean_image_that_the_network_predicts(steps):
    class One(Linear):
        def forward(self, points, times, classes):
            return torch.ones_like(points)

    *_, end = flow(One(0.0), steps=steps).path(torch.tensor([[3.0, -2.0]]))
    torch.testing.assert_close(end, torch.ones(1, 2))


def test_heun_evaluates_twice_a_step_but_once_in_the_last():
    calls = []
    model = flow(Linear(0.0), steps=5)
    model.network.register_forward_hook(lambda *_: calls.append(1))
    model.ema = None
    model(torch.zeros(3, 2))
    assert len(calls) == 9


def test_drawing_keeps_no_earlier_steps():
    model, steps, kept = flow(Linear(0.5), steps=6, solver="euler"), [], []

    def count(module, inputs):
        steps.append(weakref.ref(inputs[0]))
        kept.append(sum(step() is not None for step in steps))

    model.eval_network.register_forward_pre_hook(count)
    with torch.no_grad():
        model(torch.randn(3, 2))
    assert len(kept) == 6
    assert max(kept) <= 2


def test_guidance_goes_beyond_what_the_class_adds():
    class Class(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))

        def forward(self, points, times, classes):
            return classes @ self.weight + 0.5

    plain, guided = (
        Flow((2,), 2, lambda s, k: Class(), steps=1, guidance=g, class_dropout=0.1).eval()
        for g in (0, 2)
    )
    latents, labels = torch.zeros(2, 2), torch.tensor([0, 1])
    assert torch.equal([*plain.path(latents, labels)][-1], torch.eye(2) + 0.5)
    assert torch.equal([*guided.path(latents, labels)][-1], 3 * torch.eye(2) + 0.5)
    guided.guidance_interval = (0.1, 1.0)  # its only step is at time 0
    assert torch.equal([*guided.path(latents, labels)][-1], torch.eye(2) + 0.5)


@pytest.mark.parametrize(
    ("options", "class_dropout", "mean", "spread"),
    [({}, 0, 0, 1), ({"class_dropout": 0.3, "time_mean": -1.0, "time_std": 2.0}, 0.3, -1, 2)],
)
def test_training_tells_the_class_and_draws_times_as_its_options_say(
    options, class_dropout, mean, spread
):
    class Seen(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(()))

        def forward(self, points, times, classes):
            self.times, self.classes = times, classes
            return points + self.weight

    network = Seen()
    model = Flow((1, 28, 28), 10, lambda s, k: network, average=EMAOptions(), **options)
    fit(model, batch_size=1000, max_steps=1)
    told = network.classes.sum(dim=1)
    assert (told == 0).float().mean().item() == pytest.approx(class_dropout, abs=0.05)
    assert told.max() == network.classes.max() == 1
    assert network.times.logit().mean().item() == pytest.approx(mean, abs=0.2)
    assert network.times.logit().std().item() == pytest.approx(spread, rel=0.1)


def test_a_model_without_classes_is_told_nothing():
    for labels in (None, torch.tensor([1, 0])):
        assert flow(Best()).class_vectors(labels, torch.zeros(2, 2)).shape == (2, 0)


def test_a_haze_on_black_is_left_out():
    images = flow(Linear(0.0), steps=1, black_threshold=0.1)(
        torch.tensor([[-0.82, -0.78], [-2.0, 2.0]])
    )
    torch.testing.assert_close(images, torch.tensor([[0.0, 0.11], [0.0, 1.0]]))


def test_guidance_without_classes_is_refused():
    with pytest.raises(UserError, match="guidance needs data with classes"):
        Flow((1, 8, 8), None, guidance=1.0, class_dropout=0.1)


def test_the_network_of_the_plane_returns_a_point_that_is_clean_already():
    points, classes = torch.randn(2, 2), torch.zeros(2, 3)
    network = PlaneVelocity((2,), 3)
    found = network(points, torch.tensor([1.0, 0.5]), classes)
    assert torch.equal(found[0], points[0])
    assert not torch.allclose(found[1], points[1])
    told = network(points, torch.tensor([1.0, 0.5]), classes + 1)
    assert not torch.allclose(told[1], found[1])


def test_a_validation_is_at_evenly_spread_times():
    model, images = flow(Linear(0.5), average=EMAOptions()), torch.rand(8, 2)
    logged = []
    model.log_means_of_examples = lambda values, count: logged.append(values["val/loss"])
    for batch_idx in (0, 0, 1):
        model.validation_step((images, torch.zeros(8)), batch_idx)
    random = torch.Generator().manual_seed(derive_seed(0, 0))
    noise, times = torch.randn(8, 2, generator=random), torch.arange(1, 16, 2) / 16
    torch.testing.assert_close(logged[0], model.loss(images, None, noise, times))
    assert logged[0] == logged[1] != logged[2]


@pytest.mark.parametrize("solver", ["euler", "heun"])
@pytest.mark.parametrize("steps", [1, 4])
def test_one_scan_ends_where_the_path_ends(solver, steps):
    """Guidance acts in the middle alone, and Heun's last step has no second evaluation."""
    torch.manual_seed(0)
    options = {"guidance": 2.0, "guidance_interval": (0.3, 0.8), "class_dropout": 0.1}
    model = flow(Told(), 3, steps=steps, solver=solver, **options)
    latents, labels = torch.randn(7, 2), torch.arange(7) % 3
    *_, points = model.path(latents, labels)
    torch.testing.assert_close(model.end_of_path(latents, labels), points, atol=1e-6, rtol=1e-5)
