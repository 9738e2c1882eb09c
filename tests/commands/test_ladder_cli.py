"""fit, validate and test: what a run's config gives, where weights come from, the last lines."""

import shutil
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy

from commands.fit import ladder_cli
from commands.fit.ladder_cli import LadderCLI, check_optimization, load_initial_weights
from models import IrisMLP, base
from models.networks import FeedForward
from runtime import cluster
from runtime.errors import UserError
from tests.commands.runs import QUIET
from tests.models.gans import small
from tests.test_cli import fails, parsed, run


def test_a_runs_config_is_the_base_and_flags_apply_on_top(iris):
    command = parsed("fit", "--ckpt_path", str(iris), "--model.label_smoothing=0.25")
    saved = yaml.safe_load((iris / "config.yaml").read_text())
    options = command.config.fit
    assert command.files == [iris / "config.yaml"]
    assert options.model.init_args.label_smoothing == 0.25
    assert options.trainer.max_steps == saved["trainer"]["max_steps"] == 3
    assert options.ckpt_path == str(iris / "checkpoints" / "last.ckpt")
    assert command.experiment == "irismlp"
    assert parsed("test", str(iris)).config.test.ckpt_path == options.ckpt_path


@pytest.mark.parametrize(
    ("words", "name"),
    [(["test"], "ckpt_path"), (["fit", "--ckpt_path"], "ckpt_path"),
     (["fit", "--init_from"], "init_from"), (["fit", "--experiment"], "experiment")],
)  # fmt: skip
def test_a_null_in_a_runs_config_undoes_no_option_before_it(words, name, iris, tmp_path):
    config = tmp_path / "config.yaml"
    saved = (iris / "config.yaml").read_text()
    assert "ckpt_path" not in saved
    config.write_text(f"{saved}ckpt_path: null\n")  # as earlier versions wrote it
    options = parsed(*words, str(iris)[name == "experiment" :], f"--config={config}").options
    last = str(iris / "checkpoints" / "last.ckpt")
    assert options[name] == (last if name == "ckpt_path" else str(iris)[name == "experiment" :])
    assert parsed("fit", "--ckpt_path=null", f"--config={config}").checkpoint is None


def test_a_run_that_continues_names_what_differs_from_its_checkpoint(iris, tmp_path, capsys):
    copy = shutil.copytree(iris, tmp_path / "runs" / "run", symlinks=True)
    config = copy / "config.yaml"
    config.write_text(config.read_text().replace("label_smoothing: 0.0", "label_smoothing: 0.5"))
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "rank_zero_warn", lines.append)
        patch.setattr(ladder_cli, "rank_zero_warn", lines.append)
        run("test", str(copy), *QUIET)
        assert lines == ["The checkpoint was trained with model.label_smoothing 0.0, not 0.5."]
        args = ["fit", f"--ckpt_path={copy}", "--trust=true", *QUIET]
        seed = parsed(*args, "--seed_everything=7").options.seed_everything
        fails(capsys, *args, "--data.batch_size=8")  # within an epoch
    assert lines[1:] == [
        "The run continues with seed_everything 0, not 7.",
        "The checkpoint was trained with model.label_smoothing 0.0, not 0.5; "
        "data.batch_size 16, not 8.",
    ]
    assert seed == 0
    line = fails(capsys, *args, "--model.optimizer.betas=[0.5,0.9]")
    assert "the optimizer of its checkpoint (model.optimizer.betas [0.9, 0.999], not" in line


def test_runs_may_be_in_the_users_home(iris, monkeypatch):
    runs = iris.parents[1]
    monkeypatch.setenv("HOME", str(runs.parent))
    command = parsed(
        "fit", "--ckpt_path=last", "--model=IrisMLP", "--data=Iris",
        f"--experiment={iris.parent.name}", f"--trainer.default_root_dir=~/{runs.name}",
    )  # fmt: skip
    assert command.checkpoint == iris / "checkpoints" / "last.ckpt"


@pytest.mark.parametrize("words", [["test"], ["fit", "--ckpt_path"], ["fit", "--init_from"]])
def test_an_overlay_completes_a_runs_config(words, iris, tmp_path):
    overlay = tmp_path / "trainer" / "short.yaml"
    overlay.parent.mkdir()
    overlay.write_text("trainer: {max_steps: 7}\n")
    command = parsed(*words, str(iris), f"--config={overlay}")
    assert command.files == [iris / "config.yaml", overlay]
    assert command.options.model.class_path == "models.IrisMLP"
    assert command.options.trainer.max_steps == 7
    assert command.experiment == "irismlp"


def test_a_hostile_run_is_refused_before_anything_is_imported(iris, tmp_path, monkeypatch, capsys):
    (tmp_path / "hostile.py").write_text("raise SystemExit('was run')")
    monkeypatch.syspath_prepend(tmp_path)
    copy = shutil.copytree(iris, tmp_path / "runs" / "run", symlinks=True)
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["data"] = {"class_path": "hostile.Data"}
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    for command in ("test", "predict"):
        line = fails(capsys, command, str(copy))
        assert "names the class hostile.Data, which is not of this project" in line
    assert "hostile" not in sys.modules


def test_a_run_whose_config_is_no_yaml_is_one_line(iris, tmp_path, capsys):
    copy = shutil.copytree(iris, tmp_path / "run", symlinks=True)
    for broken in (b"a: [1\n", b"\xff\xfe"):
        (copy / "config.yaml").write_bytes(broken)
        assert f"error: {copy / 'config.yaml'}:" in fails(capsys, "test", str(copy))


def test_a_config_with_its_own_callbacks_says_whose_it_replaces(tmp_path):
    for name in "ab":
        stop = {"class_path": "EarlyStopping", "init_args": {"monitor": f"train/{name}"}}
        text = yaml.safe_dump({"trainer": {"callbacks": [stop]}})
        (tmp_path / f"{name}.yaml").write_text(text)
    files = [f"--config={tmp_path / name}.yaml" for name in "ab"]
    with pytest.warns(UserWarning, match=r"b.yaml: its trainer.callbacks replace those of .*a.yam"):
        parsed("fit", "--model=IrisMLP", "--data=Iris", *files)


def test_initial_weights_are_those_of_the_same_name_and_shape(tmp_path):
    torch.manual_seed(0)
    trained, new = IrisMLP(), IrisMLP(num_classes=5)
    torch.save({"state_dict": trained.state_dict()}, tmp_path / "a.ckpt")
    last = [name for name, w in new.state_dict().items() if w.shape[:1] == (5,)]
    before = {name: new.state_dict()[name].clone() for name in last}
    load_initial_weights(new, tmp_path / "a.ckpt")
    for name, weights in new.state_dict().items():
        same = before[name] if name in last else trained.state_dict()[name]
        assert torch.equal(weights, same), name
    with pytest.raises(UserError, match="no weights have the name and shape"):
        load_initial_weights(FeedForward((7,), 2, hidden=0), tmp_path / "a.ckpt")


def test_a_new_run_from_a_runs_weights(iris, tmp_path, capsys):
    options = ["--trainer.max_steps=1", f"--trainer.default_root_dir={tmp_path}"]
    options.append("--trainer.pictures=false")
    run("fit", f"--init_from={iris}", *options)
    assert (tmp_path / "irismlp" / "version_0" / "checkpoints" / "last.ckpt").exists()
    line = fails(capsys, "fit", f"--init_from={iris}", f"--ckpt_path={iris}", *options)
    assert "--init_from starts a new run and --ckpt_path continues one" in line


def test_the_last_lines_say_where_the_run_is_and_what_comes_next(tmp_path, caplog):
    run("fit", "--model=IrisMLP", "--data=Iris", "--trainer.max_steps=2", *QUIET,
        f"--trainer.default_root_dir={tmp_path / 'my runs'}")  # fmt: skip
    folder = tmp_path / "my runs" / "irismlp" / "version_0"
    *_, here, pictures, watch, after = caplog.messages
    assert here == f"This run: {folder}"
    assert pictures == f"Pictures: {folder}/figures"
    assert watch.endswith(f"--logdir '{tmp_path / 'my runs'}' --host localhost")
    assert after.endswith(f"python cli.py test '{folder}'")
    assert [text for text in caplog.messages if "`Trainer.fit` stopped" in text] == []
    caplog.clear()
    run("test", str(folder), *QUIET)
    assert caplog.messages[0] == f"Run: {folder}, step 2."
    *_, pictures, after = caplog.messages
    assert pictures == f"Pictures: {folder}/figures"
    assert after.endswith(f"python cli.py predict '{folder}'")
    assert [text for text in caplog.messages if "Restor" in text] == []


@pytest.mark.parametrize(
    ("in_job", "asked", "expected"),
    [(True, "auto", "mnist"), (True, "digits", "digits"), (False, "auto", "auto")],
)
def test_a_job_never_falls_back_to_other_data(in_job, asked, expected, monkeypatch):
    command = parsed("fit", "--model=GAN", "--data=Images", f"--data.dataset={asked}")
    monkeypatch.setattr(cluster, "in_job", lambda: in_job)
    LadderCLI.before_instantiate_classes(command)
    assert command.options.data.init_args.dataset == expected


def test_fsdp_is_refused_for_what_it_cannot_do():
    def check(strategy: Any, model: Any) -> None:
        options = {"gradient_clip_val": None, "accumulate_grad_batches": 1}
        trainer: Any = SimpleNamespace(strategy=strategy, **options)
        check_optimization(trainer, model)

    with pytest.raises(UserError, match="FSDP cannot train GAN.*strategy ddp"):
        check(FSDPStrategy(), small())
    check(FSDPStrategy(), IrisMLP())
    check(DDPStrategy(), small())
