"""The page's trainings in Node, without a browser."""

import json
import shutil
import subprocess

import pytest

from pages.page import FOLDER

SCRIPTS = "network", "data", "trainers"
RATES = """
const random = uniform(1), settings = { hidden: 3, activation: "tanh", batch: 2, rate: 0.3,
  slower: 10, generatorLoss: "non-saturating" };
const drawn = { inputs: new Float64Array([0.1, 0.2, 0.3, 0.4]), labels: [0, 1] };
const gan = new GAN(settings, { train: { draw: () => drawn } }, random), rates = [];
for (const optimizer of [gan.optimizer, gan.generator.optimizer])
  optimizer.step = (rate) => rates.push(rate);
gan.step();
console.log(JSON.stringify(rates));
"""


@pytest.mark.skipif(not shutil.which("node"), reason="needs Node")
def test_a_slower_discriminator_has_a_lower_rate():
    scripts = [(FOLDER / f"scripts/{name}.js").read_text("utf-8") for name in SCRIPTS]
    command = ["node", "-e", "\n".join([*scripts, RATES])]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert found == pytest.approx([0.03, 0.3])
