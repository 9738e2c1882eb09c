"""Points: its gradients are PyTorch's, it learns soon, by mouse, touch and keys."""

import re
from copy import deepcopy
from functools import partial
from statistics import median
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.nn.utils import parameters_to_vector

from commands.export import export
from datamodules import Points
from models import GAN, Drift, FeedForward, Flow, PlaneGenerator, PlaneTrunk, PlaneVelocity
from models.classifier import CLASSIFIER_LOSSES
from models.gan.discriminator import NonSaturating, PlainDiscriminator
from models.gan.losses import Minimax
from models.plane import SCALE
from tests.pages.browser.conftest import watched

pytestmark = pytest.mark.browser

RANDOM = {"generator": torch.Generator().manual_seed(0), "dtype": torch.float64}
POINTS, NOISE = torch.rand(12, 2, **RANDOM), torch.randn(12, 2, **RANDOM)
SIZES = [(1280, 800), (390, 844)]
ACTIVATIONS = ["tanh", "relu", "sigmoid", "silu", "leakyrelu", "elu", "softplus"]
CLASSIFIER = [("cross-entropy", "bce", "Adam"), ("squared error", "mse", "SGD")]
MODES = ["Classify", "GAN", "Flow", "Drift"]
PROLOGUE = """const array = (values) => Float64Array.from(values);
    const build = (Trainer, activation, optimizer, loss) => new Trainer({hidden: 5, layers: 2,
      activation, optimizer, loss, generatorLoss: loss}, null, uniform(1));"""
RIGHT = "[...document.querySelectorAll('*')].map((e) => e.getBoundingClientRect().right)"


@pytest.fixture
def opened(chromium, tmp_path):
    """A function that opens the page at a method. It asks for nothing but itself, without error."""
    (file,) = export(format=["html"], out=tmp_path / "page.html")
    seen = []

    def opening(mode: str = "Classify", size: Any = SIZES[0], **options: Any) -> Any:
        viewport = dict(zip(("width", "height"), size, strict=True))
        page = chromium.new_context(viewport=viewport, offline=True, **options).new_page()
        seen.append((page, *watched(page)))
        page.goto(file.as_uri())
        page.evaluate("void Object.assign(window, PARTS.points)")  # `state`, `step` and others
        page.get_by_role("button", name=mode).click()
        return page

    yield opening
    for page, requests, errors in seen:
        assert max(page.evaluate(RIGHT)) <= page.viewport_size["width"]
        page.context.close()
        assert requests == [file.as_uri()]
        assert errors == []


def compare(page: Any, code: str, wanted: dict[str, Any], **given: Any) -> None:
    """Compares what code returns by name. It gets tensors and weights as flat arrays."""
    given |= {"points": POINTS, "noise": NOISE}
    for name, value in given.items():
        value = parameters_to_vector(value.parameters()) if hasattr(value, "parameters") else value
        given[name] = value.flatten().tolist() if torch.is_tensor(value) else value
    found = page.evaluate(f"({{{', '.join(given)}}}) => {{{PROLOGUE} {code}}}", given)
    for name, value in wanted.items():
        values = [*found[name].values()] if isinstance(found[name], dict) else found[name]
        of_page, expected = (
            torch.tensor(values, dtype=torch.float64),
            value.detach().flatten().squeeze(),
        )
        assert (limit := 1e-5 * float(expected.abs().max())) > 0
        torch.testing.assert_close(of_page, expected, rtol=0, atol=limit)


def gradients(loss: torch.Tensor, network: Any) -> torch.Tensor:
    parts = torch.autograd.grad(loss, [*network.parameters()], retain_graph=True)
    return parameters_to_vector(parts)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("loss", "own", "optimizer"), CLASSIFIER)
def test_steps_of_a_classifier_are_those_of_pytorch(loss, own, optimizer, activation, opened):
    network = FeedForward((2,), 1, (5, 5), activation).double()
    labels = torch.randint(2, (12,))
    start, wanted = deepcopy(network), {}
    torch_optimizer = getattr(torch.optim, optimizer)(network.parameters(), lr=0.1)
    for _ in range(5):
        value = CLASSIFIER_LOSSES[own].loss(network(SCALE * (2 * POINTS - 1)), labels, 0.0)
        wanted = wanted or {"value": value, "gradients": gradients(value, network)}
        torch_optimizer.zero_grad()
        value.backward()
        torch_optimizer.step()
    code = """const trainer = build(Classifier, activation, optimizer, loss), {network} = trainer;
        network.parameters.set(start);
        const found = [];
        for (let k = 0; k < 5; k++) {
          const {loss: value, slopes} = trainer.loss({inputs: array(points), labels});
          network.backward(slopes);
          found.push({value, gradients: array(network.gradients)});
          trainer.optimizer.step(0.1);
        }
        return {...found[0], weights: network.parameters};"""
    wanted["weights"] = parameters_to_vector(network.parameters())
    given = {"activation": activation, "loss": loss, "optimizer": optimizer, "labels": labels}
    compare(opened(), code, wanted, start=start, **given)


@pytest.mark.parametrize(("loss", "own"), [("non-saturating", NonSaturating), ("minimax", Minimax)])
def test_losses_of_a_gan_are_those_of_the_product(loss, own, opened):
    parts = partial(PlaneGenerator, hidden=5), partial(PlaneTrunk, hidden=5)
    gan = GAN((2,), *parts, partial(PlainDiscriminator, loss=own), latent_dim=2).double()
    fake = gan.generator(NOISE)
    d_loss, _ = gan.discriminator.discriminator_loss((POINTS, None), (fake.detach(), None))
    g_loss, _ = gan.discriminator.generator_loss((fake, None), (POINTS, None))
    of_d, of_g = gradients(d_loss, gan.discriminator), gradients(g_loss, gan.generator)
    (slopes,) = torch.autograd.grad(g_loss, fake)
    code = """const gan = build(GAN, "relu", null, loss), {generator, discriminator} = gan;
        generator.network.parameters.set(g);
        discriminator.parameters.set(d);
        const fake = generator.generate(array(noise)), dLoss = gan.discriminatorLoss(points, fake);
        const ofD = array(discriminator.gradients), gLoss = gan.generatorLoss(array(noise));
        return {dLoss, gLoss, ofD, ofG: generator.network.gradients, ...gan.slopes(fake)};"""
    wanted = {"dLoss": d_loss, "gLoss": g_loss, "ofD": of_d, "ofG": of_g, "slopes": slopes}
    compare(opened(), code, wanted, loss=loss, g=gan.generator, d=gan.discriminator)


def test_loss_and_path_of_a_flow_are_those_of_the_product(opened):
    flow = Flow((2,), network=partial(PlaneVelocity, hidden=5)).double()
    times = torch.linspace(0, 0.99, 12).double()
    loss = flow.loss(POINTS, None, NOISE, times)
    wanted = {"loss": loss, "gradients": gradients(loss, flow.network)}
    flow.ema, flow.solver, flow.steps = None, "euler", 8
    code = """const trainer = build(Flow, "relu");
        trainer.network.parameters.set(network);
        const {loss, slopes} = trainer.loss(array(points), noise, times);
        trainer.network.backward(slopes);
        const gradients = array(trainer.network.gradients);
        return {loss, gradients, half: trainer.follow(array(noise), 0.5, 4)};"""
    wanted["half"] = [*flow.path(NOISE)][4]
    compare(opened(), code, wanted, times=times, network=flow.network)


def test_field_and_loss_of_drift_are_those_of_the_product(opened):
    model = Drift((2,), generator=partial(PlaneGenerator, hidden=5), latent_dim=2).double()
    fake = model.network(NOISE)
    move, length = model.field(fake.detach(), POINTS, None)
    loss = F.mse_loss(fake, fake.detach() + move)
    code = """const trainer = build(Drift, "relu"), {generator} = trainer;
        generator.network.parameters.set(network);
        const {loss, length} = trainer.loss(array(noise), points);
        const {pull, push} = drift(generator.generate(array(noise)), points, TEMPERATURES);
        const move = pull.map((v, i) => v + push[i]), gradients = generator.network.gradients;
        return {loss, length, gradients, move};"""
    wanted = {
        "loss": loss,
        "length": length,
        "move": move,
        "gradients": gradients(loss, model.network),
    }
    compare(opened(), code, wanted, network=model.network)


@pytest.mark.parametrize(("data", "layers"), [("XOR", "1"), ("two moons", "1"), ("spiral", "2")])
def test_a_classifier_learns(data, layers, opened):
    page = opened()
    page.locator("#points").get_by_label("Data").select_option(data)
    page.locator("#points").get_by_label("Hidden layers").select_option(layers)
    page.evaluate("for (let k = 0; k < 2000; k++) step()")
    assert page.evaluate("state.trainer.accuracy(state.data.train)") > 0.985


def test_two_units_solve_xor_and_the_page_says_when_they_are_stuck(opened):
    page = opened()
    page.locator("#points").get_by_label("Data").select_option("XOR")
    page.locator("#points").get_by_label("Hidden units:").fill("2")
    solved, stuck = page.evaluate("""() => {
        const found = [[], []];
        for (let trial = 0; trial < 200; trial++) {
          reset();
          for (let k = 0; k < 1000; k++) step();
          found[0].push(state.trainer.accuracy(state.data.train) === 1);
          found[1].push(scene().status(state).includes("stuck? Reset"));
        }
        return found;
    }""")
    assert sum(solved) >= 120
    assert stuck == [not right for right in solved]
    page.locator("#points").get_by_label("Activation").select_option("relu")
    said = "accuracy 75 % · stuck? Reset tries another start"
    code = "reset(); for (let k = 0; k < 1000; k++) step(); scene().status(state)"
    assert said in [page.evaluate(code) for _ in range(5)]


def test_a_ring_is_not_eight_clusters(opened):
    code = "covered(Array.from({length: 400}, (_, k) => ring(k, 0.35)).flat())"
    page = opened("GAN")
    assert page.evaluate(code)["found"] == 0
    assert page.evaluate("covered(state.data.train.xy)") == {"found": 8, "inside": 1}


@pytest.mark.parametrize(("mode", "steps"), [("GAN", 2000), ("Flow", 1000), ("Drift", 1200)])
def test_a_generator_finds_the_clusters(mode, steps, opened):
    page, ring = opened(mode), Points("ring")
    page.evaluate(f"for (let k = 0; k < {steps}; k++) step()")
    for code, least in (("scene().paint(plane, state.trainer, state.settings)", 0.4),
                        ("state.data.train.xy", 0.99)):  # fmt: skip
        points = torch.tensor(page.evaluate(f"[...{code}]")).view(-1, 2)
        covered, _, near = ring.mode_coverage(points)
        assert covered >= 7
        assert near > least


@pytest.mark.full
@pytest.mark.parametrize("mode", MODES)
def test_ten_pictures_a_second_with_16_hidden_units(mode, opened):
    page = opened(mode)
    page.locator("#points").get_by_label("Hidden units:").fill("16")
    page.locator("#points").get_by_label("Speed").select_option("fast")
    code = "(start => (tick(start + 1e9), performance.now() - start))(performance.now())"
    medians = [median(page.evaluate(code) for _ in range(9)) for _ in range(3)]
    assert min(medians) < 100  # milliseconds of training and drawing; others may use the CPU
    assert page.evaluate("state.steps") >= 27


def test_start_pause_step_and_reset_by_keys(opened):
    page = opened()

    def press(name: str) -> list[Any]:
        page.get_by_role("button", name=name, exact=True).press("Enter")
        page.wait_for_timeout(300)
        return page.evaluate("[state.steps, state.trainer.network.parameters[0]]")

    first = press("Step")
    press("Start")
    paused = press("Pause")
    assert first[0] == 1 < paused[0]
    assert press("Step")[0] == paused[0] + 1
    rates = page.locator("#points").get_by_label("Learning rate")
    rates.select_option("0.1")  # without a new start
    assert page.evaluate("[state.steps, state.trainer.settings.rate]") == [paused[0] + 1, 0.1]
    assert press("Reset")[0] == 0


def test_the_dots_of_curves_are_seen_on_a_dark_page(opened):
    page = opened(color_scheme="dark")
    page.get_by_role("button", name="Step").click()
    code = """() => {
        const dot = document.querySelector("#values i"), style = getComputedStyle(dot);
        const {backgroundColor} = getComputedStyle(dot.closest("section"));
        return [style.backgroundColor, style.boxShadow, backgroundColor];
    }"""
    brightness = [sum(map(int, re.findall(r"\d+", text)[:3])) for text in page.evaluate(code)]
    *dot, card = brightness
    assert max(dot) > card + 200  # of 765


@pytest.mark.parametrize("touch", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_points_are_drawn_by_mouse_and_touch(mode, touch, opened):
    page = opened(mode, SIZES[touch], has_touch=touch)
    page.locator("#points").get_by_label("Data").select_option("drawn by hand")
    page.get_by_role("button", name="Step").click()
    assert page.locator("#status").inner_text() == "step 0 · no points yet"
    box = page.locator("#plane").bounding_box()
    for share in (0.4, 0.5, 0.6):
        place = box["x"] + share * box["width"], box["y"] + box["height"] / 2
        (page.touchscreen.tap if touch else page.mouse.click)(*place)
    xy = torch.tensor(page.evaluate("state.data.train.xy")).view(-1, 2)
    assert len(xy) >= 6
    assert (xy - 0.5).abs().max() < 0.35
    page.get_by_role("button", name="Step").click()
    assert page.evaluate("state.steps") == 1
    roles = re.findall(
        r"- (?:combobox|slider|button|img)(.*)", page.locator("body").aria_snapshot()
    )
    assert len(roles) > 10
    assert all(name.startswith(' "') for name in roles), roles
