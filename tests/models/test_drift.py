"""Drift: the field in closed form, and what it refuses."""

from functools import partial

import pytest
import torch

from models import Drift
from models.drift import drift, window
from models.gan.networks import ModernGenerator
from models.sampling import generate
from runtime.errors import UserError
from tests.models.closed_form import assert_same, seeded, step
from tests.models.gans import fit

TEMPERATURES = (0.05, 0.5)


def sets(seed: int, *sizes: int):
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(n, 3, generator=random, dtype=torch.float64) for n in sizes]


def test_equal_sets_leave_points_where_they_are():
    points, p = sets(0, 7, 20)
    found, length = drift(points, p, p, TEMPERATURES)
    assert length == pytest.approx(0, abs=1e-12)


def test_sets_that_change_places_change_the_sign():
    points, p, q = sets(1, 7, 20, 15)
    there, _ = drift(points, p, q, TEMPERATURES)
    back, _ = drift(points, q, p, TEMPERATURES)
    assert there.abs().max() > 0.1
    assert torch.allclose(there, -back)


def test_one_point_between_two_follows_the_formula():
    """One point, one that attracts and one that repels: V is along their difference."""
    x, p, q = (torch.tensor([[v]], dtype=torch.float64) for v in (0.0, 1.0, -3.0))
    found, _ = drift(x, p, q, (0.5,))
    assert found.item() == pytest.approx(1.0)  # scaled to a mean square of 1, toward p


def field(fakes, reals, *labels, **options):
    model = Drift((3,), 2, lambda n, s: torch.nn.Linear(n, 3), temperatures=TEMPERATURES, **options)
    return model.field(fakes, reals, tuple(torch.tensor(found) for found in labels))


def written_out(x, real, far, temperature, guidance):
    """V of points x: sum_ij a_i r_j (p_i - q_j) over real points p_i and points q_j that repel.

    These are the other x, as often as they are, and points `far`, together as `guidance` times all
    x. A weight is a kernel over the root of the sums of its row and of its column.
    """
    points = [(p, 1.0, True, None) for p in real]
    points += [(p, 1.0, False, k) for k, p in enumerate(x)]  # its own number
    points += [(p, guidance * len(x) / len(far), False, None) for p in far]
    pairs = [(i, j) for i in range(len(x)) for j, p in enumerate(points) if p[3] != i]
    distances = {(i, j): (x[i] - points[j][0]).norm() for i, j in pairs}
    scale = temperature * sum(distances.values()) / len(distances)
    kernels = {pair: (-distance / scale).exp() for pair, distance in distances.items()}
    moves = []
    for i in range(len(x)):
        near, away = [], []
        row = sum(kernels[i, j] * points[j][1] for k, j in pairs if k == i)
        for j, (place, often, attracts, own) in enumerate(points):
            if own != i:
                column = sum(kernels[pair] for pair in pairs if pair[1] == j)
                weight = often * kernels[i, j] / (row * column).sqrt()
                (near if attracts else away).append((weight, place))
        moves.append(sum(a * r * (p - q) for a, p in near for r, q in away))
    found = torch.stack(moves)
    return found / (found**2).mean().sqrt()


class Generator(torch.nn.Sequential):
    """Features -> images between 0 and 1, by one layer."""

    def __init__(self, size, shape):
        layers = torch.nn.Linear(size, 64), torch.nn.Sigmoid(), torch.nn.Unflatten(1, shape)
        super().__init__(*layers)


def test_a_training_step_moves_images_along_the_field():
    """Whole images at two sizes and two windows, which count half each; two classes, guided."""
    options = {"generated": 7, "scales": (1, 4), "windows": 2, "guidance": 0.5}
    options |= {"temperatures": TEMPERATURES, "latent_dim": 3}
    model = Drift((1, 8, 8), 2, Generator, **options).double()
    real, real_labels = torch.rand(10, 1, 8, 8).double(), torch.tensor([0, 1, 1, 0, 1] * 2)
    found = step(model, real, real_labels)

    with seeded():
        random = model.batch_rng(0)
        latents = torch.randn(7, 3, generator=random)
        labels = torch.randint(2, (7,), generator=random)
        places = (torch.rand(2, 2, generator=random) * 8).int().tolist()
    layer, told = model.network[0], 3**0.5 * torch.eye(2).double()[labels]
    inputs = torch.cat([latents, told], dim=1)
    fake = (1 / (1 + (-(inputs @ layer.weight.T + layer.bias)).exp())).view(7, 1, 8, 8)

    def at(y, x):
        return lambda images: torch.nn.functional.pad(images, [3] * 4)[:, :, y : y + 7, x : x + 7]

    views = [(1, lambda images: images)]
    views += [(1, lambda images: images.unflatten(3, (2, 4)).unflatten(2, (2, 4)).mean((3, 5)))]
    views += [(1 / 2, at(*place)) for place in places]
    expected = 0
    for part, view in views:
        seen, known = view(fake).flatten(1), view(real).flatten(1)
        target = seen.detach().clone()
        for k in range(2):
            x = target[labels == k].clone()
            for temperature in TEMPERATURES:
                own = known[real_labels == k]
                target[labels == k] += written_out(x, own, known, temperature, 0.5)
        expected = expected + part * ((seen - target) ** 2).mean()
    assert_same(found, expected, model.network.parameters())


def test_samples_are_of_the_average():
    model = Drift((1, 8, 8), 2, Generator, latent_dim=3).eval()
    latents, labels = model.sample_grid()
    before = generate(model, latents, labels)
    torch.nn.init.constant_(model.network[0].weight, 9.0)
    assert torch.equal(generate(model, latents, labels), before)


def test_each_class_drifts_for_itself():
    fakes, reals = sets(2, 6, 20)
    found, _ = field(fakes, reals, [0, 1] * 3, [0, 1] * 10)
    for i in range(2):
        alone = fakes[i::2]
        there, _ = drift(alone, reals[i::2], alone, TEMPERATURES, itself=True)
        assert torch.allclose(found[i::2], there)


def test_the_mean_length_counts_each_point_equally():
    """Two points of one class, and four of another."""
    fakes, reals = sets(2, 6, 20)
    parts = (fakes[:2], reals[::2]), (fakes[2:], reals[1::2])
    lengths = [drift(x, p, x, TEMPERATURES, itself=True)[1] for x, p in parts]
    _, found = field(fakes, reals, [0] * 2 + [1] * 4, [0, 1] * 10)
    assert found.item() == pytest.approx((2 * lengths[0] + 4 * lengths[1]).item() / 6)


def test_guidance_leads_away_from_the_other_classes():
    """Real points of all classes repel, together as half as many as the generated ones."""
    fakes, reals = sets(5, 8, 20)
    found, _ = field(fakes, reals, [0] * 8, [0, 1] * 10, guidance=0.5)
    repel, counts = torch.cat([fakes, reals]), torch.tensor([1.0] * 8 + [0.2] * 20)
    there, _ = drift(fakes, reals[::2], repel, TEMPERATURES, counts.double(), itself=True)
    assert torch.allclose(found, there)
    far = reals + 5 * torch.tensor([[0.0], [1.0]]).repeat(10, 1)  # class 1, to the upper right
    plain, _ = field(fakes, far, [0] * 8, [0, 1] * 10)
    guided, _ = field(fakes, far, [0] * 8, [0, 1] * 10, guidance=1.0)
    assert (guided - plain).mean() < 0


def test_a_point_that_counts_twice_repels_as_two():
    points, p, q = sets(6, 7, 20, 15)
    twice = torch.ones(15, dtype=torch.float64)
    twice[3:5] = 2
    one, _ = drift(points, p, q, (0.5,), twice)
    two, _ = drift(points, p, torch.cat([q, q[3:5]]), (0.5,))
    assert (one * two).sum() / one.norm() / two.norm() == pytest.approx(1, abs=1e-4)


def test_guidance_needs_classes():
    with pytest.raises(UserError, match="model.guidance needs data with classes"):
        Drift((1, 28, 28), guidance=0.1)
    with pytest.raises(UserError, match="model.conditional true: set it to 0"):
        Drift((1, 28, 28), 10, conditional=False, guidance=0.1)


def test_a_point_does_not_repel_itself():
    """Alone it would stay where it is: nothing repels, so V, a product of both sides, is 0."""
    point, reals = sets(3, 1, 8)
    assert drift(point, reals, point, TEMPERATURES, itself=True)[0].abs().max() == 0
    assert drift(point, reals, point, TEMPERATURES)[0].abs().max() > 0.1


def test_bf16_does_not_blur_the_directions():
    """They are small differences of large sums, and bf16 has three digits only."""
    points, p, q = (found.float() for found in sets(7, 7, 20, 15))
    expected, _ = drift(points, p, q, TEMPERATURES)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = drift(points, p, q, TEMPERATURES)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("conditional", [True, False])
def test_training_compares_images_of_a_class_or_all(conditional, monkeypatch):
    found = []

    def spy(points, attract, repel, temperatures, counts=None, itself=False):
        assert itself
        assert torch.equal(points, repel)
        found.append((len(points), len(attract)))
        return torch.zeros_like(points), points.new_zeros(())

    monkeypatch.setattr("models.drift.drift", spy)
    generator = partial(ModernGenerator, width=2)
    fit(Drift((1, 28, 28), 10, generator, conditional, 4), batch_size=1000, max_steps=1)
    assert len(found) == (10 if conditional else 1)
    assert [sum(sizes) for sizes in zip(*found, strict=True)] == [320, 1000]


def test_a_window_is_what_lies_around_a_place():
    images = torch.arange(2.0 * 12 * 9).view(2, 1, 12, 9)
    assert torch.equal(window(images, (0.5, 0.5)), images[:, :, 3:10, 1:8].flatten(1))
    corner = window(images + 1, (0.0, 0.99)).view(2, 7, 7)
    assert torch.equal(corner[:, 3:, :4], (images + 1)[:, 0, :4, 5:])
    assert corner[:, :3].abs().max() == corner[:, :, 4:].abs().max() == 0  # outside


def test_each_step_compares_windows_at_other_places(monkeypatch):
    places = []
    monkeypatch.setattr("models.drift.window", lambda x, place: (places.append(place), x[:, 0])[1])
    generator = partial(ModernGenerator, width=2)
    for _ in range(2):
        model = Drift((1, 28, 28), 10, generator, latent_dim=4, scales=(4,), windows=3)
        monkeypatch.setattr(model, "field", lambda x, *_: (torch.zeros_like(x), x.new_ones(())))
        fit(model, batch_size=1000, max_steps=2)
    step = places[::2]  # of generated images, then of real ones
    assert step == places[1::2]
    assert len(step) == 12
    assert step[:6] == step[6:]
    assert len({tuple(place) for place in step}) == 6


def test_windows_count_together_as_much_as_a_whole_image(monkeypatch):
    monkeypatch.setattr("models.drift.window", lambda x, place: x.flatten(1))
    losses = []
    for options in ({"scales": (1, 1)}, {"scales": (1,), "windows": 5}):
        model = Drift((1, 28, 28), 10, partial(ModernGenerator, width=2), latent_dim=4, **options)
        monkeypatch.setattr(model, "field", lambda x, *_: (torch.ones_like(x), x.new_ones(())))
        monkeypatch.setattr(model, "log_means", lambda values: losses.append(values["loss"].item()))
        fit(model, batch_size=1000, max_steps=1)
    assert losses == pytest.approx([2, 2])


def test_parts_of_points_are_refused():
    for options in ({"windows": 1}, {"scales": (2,)}):
        with pytest.raises(UserError, match="the data are points: leave them out"):
            Drift((2,), generator=lambda n, s: torch.nn.Linear(n, 2), **options)


def test_a_class_with_few_images_in_a_batch_is_refused():
    with pytest.raises(UserError, match="a batch has 1 images of class 1, and Drift needs 4"):
        field(*sets(4, 2, 5), [0, 1], [0, 0, 0, 0, 1])


def test_a_generator_learns_to_draw_near_a_point():
    """All real points are (.8, .2): the generated ones arrive there."""
    torch.manual_seed(0)
    model = Drift((2,), generator=lambda n, s: torch.nn.Linear(n, 2), latent_dim=2)
    optimizer = torch.optim.Adam(model.network.parameters(), 0.02)
    real = torch.tensor([[0.8, 0.2]]).repeat(16, 1)
    for _ in range(200):
        fake = model.network(torch.randn(32, 2))
        move = model.directions(fake.detach(), real)
        optimizer.zero_grad()
        (fake - (fake.detach() + move)).square().mean().backward()
        optimizer.step()
    drawn = model.network(torch.randn(500, 2))
    assert (drawn.mean(dim=0) - real[0]).norm() < 0.1
