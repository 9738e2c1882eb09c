"""The comparison of models that draw images counts what they cost, and draws them side by side."""

import cli
import ladder
from examples import after_the_gan as example
from models import ConditionalGAN
from tests.commands.runs import DIGITS, QUIET
from tests.models.gans import small

SMALL_FLOW = ["--model.network=UNet", "--model.network.widths=[4,8]", "--model.steps=3"]


def test_a_flow_costs_evaluations_and_is_scored_by_them(tmp_path, monkeypatch):
    place = f"--trainer.default_root_dir={tmp_path}"
    few = ["--trainer.max_steps=2", "--quality.samples=0", "--quality.gan_train=false", place]
    cli.main(["fit", "--model=Flow", *SMALL_FLOW, *DIGITS, *QUIET, *few])
    run = str(tmp_path / "flow" / "version_0")
    model = ladder.load(run)
    facts = example.facts(run, model)
    assert facts["evaluations"] == 5  # of Heun, two a step but one in the last
    assert facts["weights"] == sum(values.numel() for values in model.eval_network.parameters())
    assert facts["frechet"] is None  # it was not tested
    monkeypatch.setattr(example, "SOLVERS", [("euler", 1), ("heun", 2)])
    monkeypatch.setattr(example, "SCORED", 100)
    found = example.by_evaluations(run, model)
    assert found["evaluations"].tolist() == [1, 3]
    assert found[["frechet", "precision", "recall"]].notna().all(axis=None)
    panels = example.plot_evaluations(found).axes
    assert [axes.get_title() for axes in panels] == [*example.DRAWN.values()]


def test_a_row_has_ten_samples_of_each_model_of_its_class():
    model = small(ConditionalGAN)
    picture = example.side_by_side([model, model])
    one = 10 * 29 + 1
    assert picture.shape == (1, one, 2 * one + example.GAP)
    assert picture[:, :, :one].equal(picture[:, :, -one:])
    assert example.cost(model)[0] == 1
