"""`--trainer.compile true`: the same training, checkpoints that any run reads, errors in a line."""

import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel

import cli
from models.fast_layers import Dropout
from runtime.errors import UserError
from runtime.trainer import LadderTrainer
from tests.commands.runs import DIGITS
from tests.models.gans import WIDTH_2

RUNS = {
    "iris": [
        "--config=configs/iris.yaml",
        "--data.batch_size=30",
        "--model.schedule.shape=constant",
    ],
    "gan": [
        "--model=GAN",
        *WIDTH_2,
        *DIGITS,
        "--model.penalties.r1=1",
        "--model.penalties.every=2",
    ],
    **{
        name: [f"--config=configs/{name}.yaml", "--model.schedule.shape=constant"]
        for name in (
            "gates",
            "functions",
            *(f"points/{k}" for k in ("gan", "vae", "flow", "drift")),
        )
    },
}
QUICK = "iris", "gates", "points/vae"


@pytest.fixture(autouse=True)
def without_compiler(monkeypatch):
    """Traces the networks as `compile` does, but leaves out the C++ compiler, which is slow."""
    compiled = torch.compile
    monkeypatch.setattr(
        "torch.compile",
        lambda model, options=None, **kw: compiled(model, backend="aot_eager", **kw),
    )
    torch._dynamo.reset()


def fit(folder, name, *options):
    cli.main([
        "fit", *RUNS[name], f"--trainer.default_root_dir={folder}", "--experiment=x",
        "--trainer.limit_val_batches=0", "--quality.samples=0", "--trainer.precision=32-true",
        "--trainer.pictures=false", "--trainer.accelerator=cpu", *options,
    ])  # fmt: skip
    newest = max((folder / "x").iterdir())
    return torch.load(newest / "checkpoints/last.ckpt", weights_only=True)


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in RUNS]
)
def test_a_compiled_run_trains_the_same_and_any_run_continues_from_it(name, tmp_path):
    plain = fit(tmp_path, name, "--trainer.max_steps=5")
    torch._dynamo.utils.counters.clear()
    fit(tmp_path, name, "--trainer.max_steps=3", "--trainer.compile=true")
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    fit(tmp_path, name, "--trainer.max_steps=4", "--ckpt_path=last")
    again = ["--ckpt_path=last", "--trainer.compile=true"]
    resumed = fit(tmp_path, name, "--trainer.max_steps=5", *again)
    assert resumed["global_step"] == plain["global_step"] == 5
    torch.testing.assert_close(resumed["state_dict"], plain["state_dict"], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_generated_code_draws_the_dropout_of_an_uncompiled_run(order, monkeypatch):
    monkeypatch.undo()  # the fixture
    images, layer = torch.ones(4, 3, 5, 5).to(memory_format=order), Dropout(0.5)
    generated = torch.compile(layer.forward, options={"fallback_random": True})
    torch.manual_seed(0)
    expected = layer(images)
    torch.manual_seed(0)
    assert torch.equal(generated(images), expected)


def test_without_a_compiler_a_run_ends_with_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.undo()  # the fixture
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-compiler",))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(SystemExit) as stopped:
        fit(tmp_path, "iris", "--trainer.max_steps=2", "--trainer.compile=true")
    assert stopped.value.code == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error")]
    assert line.startswith("error: --trainer.compile true: ")
    assert "No working C++ compiler found" in line
    assert line.endswith("Leave the option out.")


def test_a_model_that_names_no_networks_is_refused():
    with pytest.raises(UserError, match="BoringModel names no networks"):
        LadderTrainer(compile=True, logger=False, accelerator="cpu").fit(BoringModel())
