"""The claims of the lesson in docs/teaching.md, trained in the page from several starts."""

from statistics import median
from typing import Any

import pytest

pytestmark = pytest.mark.browser

TRAIN = """({mode, changes, steps, starts}) => Array.from({length: starts}, (_, start) => {
    const scene = SCENES[mode], settings = {...scene.settings, ...changes};
    const data = pointsOf(settings.data, uniform(1));
    const trainer = new scene.Trainer(settings, data, uniform(start + 1));
    for (let k = 0; k < steps; k++) trainer.step();
    if (mode === "gan") return {found: covered(trainer.generator.generate(LATENTS)).found};
    const sure = Math.max(...trainer.logits(data.train.all().inputs).map(Math.abs));
    return {accuracy: trainer.accuracy(data.train), sure, held: trainer.heldOut()};
})"""


def train(page: Any, mode: str, steps: int, starts: int, **changes: Any) -> list[dict[str, float]]:
    given = {"mode": mode, "changes": changes, "steps": steps, "starts": starts}
    return page.evaluate(TRAIN, given)


def test_a_line_cannot_do_xor_and_ends_undecided(opened):
    results = train(opened(), "classify", 2000, 20, data="XOR", hidden=0)
    assert all(result["accuracy"] <= 0.75 for result in results)
    assert all(result["sure"] < 0.1 for result in results)


def test_eight_units_do_two_moons_and_two_units_do_not(opened):
    page = opened()
    few, enough, many = (
        [result["held"] for result in train(page, "classify", 3000, 5, hidden=hidden)]
        for hidden in (2, 8, 24)
    )
    assert min(few) > 0.2
    assert max(enough + many) < 0.01


@pytest.mark.full
def test_a_slow_discriminator_leads_the_generator_nowhere(opened):
    page = opened()
    found = [it["found"] for it in train(page, "gan", 3000, 5)]
    slow = [it["found"] for it in train(page, "gan", 3000, 5, slower=10)]
    assert median(found) >= 6
    assert median(slow) <= 1
