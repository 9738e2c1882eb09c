"""`Run` finds what a user means, once, and reads its files when they are asked for."""

import copy
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import cli
from commands.predict import predict
from commands.sample import sample
from models import Flow
from results import Run
from runtime import checkpoints
from runtime.errors import UserError
from tests.conftest import ROOT
from tests.test_cli import parsed


@pytest.fixture
def count(monkeypatch):
    """A function that returns the growing list of the calls of another one."""

    def counting(owner: Any, name: str) -> list[Any]:
        real, calls = getattr(owner, name), list[Any]()

        def counted(*args: Any, **kwargs: Any) -> Any:
            calls.append(args)
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, counted)
        return calls

    return counting


@pytest.mark.parametrize("tool", [sample, predict])
def test_a_tool_finds_its_run_once_and_opens_the_checkpoint_twice(tool, request, tmp_path, count):
    run = request.getfixturevalue("cgan" if tool is sample else "classifier")
    copy = shutil.copytree(run, tmp_path / "version_0", symlinks=True)
    opened, found = count(torch, "load"), count(checkpoints, "resolve")
    tool(copy)
    assert (len(opened), len(found)) == (2, 1)  # verified; then Lightning builds the model


def test_a_run_is_found_by_each_of_its_names(iris, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(iris, Path("runs/irismlp/version_0"), symlinks=True)
    last = folder / "checkpoints/last.ckpt"
    for text in (folder, str(folder), last, folder.parent, "runs", "last", "irismlp"):
        run = Run.find(text)
        assert (run.folder, run.name) == (folder, "irismlp")
        assert run.checkpoint.resolve() == last.resolve()
    assert Path(parsed("test", "irismlp").config.test.ckpt_path).resolve() == last.resolve()
    with pytest.raises(UserError, match=r"^RUN iri: no such file or folder. Give a checkpoint"):
        Run.find("iri")
    with pytest.raises(UserError, match=r"^RUN best: no best.ckpt below runs"):
        Run.find("best")


def test_a_run_says_what_it_was_told_and_what_it_reached(iris):
    run = Run(iris)
    assert run.config["model"]["class_path"] == "models.IrisMLP"
    assert run.settings["model"] == "IrisMLP"
    assert run.settings["trainer.max_steps"] == 3
    curves, scores = run.curves(), run.scores(["train"])
    assert scores["train/loss"] == curves["train/loss"].dropna().iloc[-1]
    assert run.logged["step"] == curves["step"].max()
    assert run.floors() == {}


def test_callbacks_are_settings_by_their_names(tmp_path):
    callbacks = "[{class_path: my.Histogram, init_args: {bins: 20}}, {class_path: Timer}]"
    (tmp_path / "config.yaml").write_text(f"trainer: {{callbacks: {callbacks}}}\n")
    assert Run(tmp_path).settings == {"trainer.callbacks": "['my.Histogram', 'Timer']"}


def test_a_read_score_does_not_import_torch(iris):
    script = "import sys; from pathlib import Path; from results import Run; " \
             "Run(Path(sys.argv[1])).scores(); sys.exit('torch' in sys.modules)"  # fmt: skip
    subprocess.run([sys.executable, "-c", script, str(iris)], check=True, timeout=60)


def test_every_class_of_ours_that_a_checkpoint_names_is_known_to_tools():
    script = (
        "import sys; from results import building; from runtime.trust import trusted_class; "
        "sys.exit(not all(map(trusted_class, sys.argv[1:])))"
    )
    names = "metrics.judge.JudgeNetwork", "models.ConditionalGAN", "datamodules.Images"
    subprocess.run([sys.executable, "-c", script, *names], check=True, timeout=60)


def test_a_step_is_read_from_a_name_and_else_from_the_file(tmp_path):
    (tmp_path / "epoch=001-step=0000012.ckpt").touch()
    (tmp_path / "last.ckpt").symlink_to("epoch=001-step=0000012.ckpt")
    torch.save({"global_step": 7, "state_dict": {}}, tmp_path / "mine.ckpt")
    names = ("epoch=001-step=0000012.ckpt", "last.ckpt", "mine.ckpt", "none.ckpt")
    assert [checkpoints.saved_step(tmp_path / name) for name in names] == [12, 12, 7, None]


def test_a_run_reads_the_data_set_that_it_has_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few = ["--model.network=FeedForward", "--trainer.max_steps=1", "--trainer.limit_val_batches=0"]
    few += ["--experiment=x", "--trainer.pictures=false"]
    with pytest.warns(UserWarning, match="MNIST WAS NOT FOUND"):
        cli.main(["fit", "--model=ImageClassifier", "--data=Images", *few])
    run = Run.find("x")
    assert run.settings["data.dataset"] == "digits"
    with warnings.catch_warnings(action="error"):
        assert run.data().dataset_found == "digits"


@pytest.mark.parametrize(
    ("minutes", "age"),
    [(0, "0 minutes"), (1.2, "1 minute"), (89, "89 minutes"), (91, "2 hours"), (2881, "2 days")],
)
def test_the_age_of_a_run_is_in_words(minutes, age, tmp_path, monkeypatch):
    file = tmp_path / "step=5.ckpt"
    file.touch()
    monkeypatch.setattr("time.time", lambda: file.stat().st_mtime + 60 * minutes)
    assert Run(tmp_path, file).describe() == f"{tmp_path}, step 5, {age} old"


AMOUNTS = {"color": 1.0, "translation": 0.125, "cutout": 0.5}
REMOVED = {  # options that models had, at their old defaults
    "ConditionalGAN": {
        "accumulate_grad_batches": 1,
        "augment": {"class_path": "models.DiffAugment", "init_args": AMOUNTS},
    },
    "Flow": {"network": {"class_path": "models.UNet", "init_args": {"attention": False}}},
}


@pytest.mark.parametrize("kind", REMOVED)
def test_a_run_of_an_earlier_version_opens(kind, tmp_path):
    """At its old default, a removed option is dropped from checkpoints and configs."""
    run, removed = ROOT / "tests" / "fixtures" / "cgan", copy.deepcopy(REMOVED[kind])
    saved = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    config = yaml.safe_load((run / "config.yaml").read_text())
    if kind == "Flow":
        config["model"] = {"class_path": "models.Flow", "init_args": {}}
        names = {"_class_path": "models.Flow", "image_shape": (1, 8, 8), "num_classes": 10}
        instantiator = saved["hyper_parameters"]["_instantiator"]
        saved["hyper_parameters"] = names | {"_instantiator": instantiator}
        saved["state_dict"] = Flow((1, 8, 8), 10).state_dict()
    saved["hyper_parameters"] |= removed
    config["model"]["init_args"] |= removed
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    parsed("fit", f"--config={tmp_path / 'config.yaml'}")
    torch.save(saved, tmp_path / "last.ckpt")
    assert type(Run.find(tmp_path / "last.ckpt").model()).__name__ == kind
    for options in (removed, *(it["init_args"] for it in removed.values() if it != 1)):
        for name in {"accumulate_grad_batches", "attention", *AMOUNTS} & options.keys():
            default, options[name] = options[name], 2
            saved["hyper_parameters"] |= removed
            torch.save(saved, tmp_path / "last.ckpt")
            with pytest.raises(UserError, match=f"no option {name} any more, and here it is 2"):
                Run.find(tmp_path / "last.ckpt").model()
            options[name] = default
    assert removed == REMOVED[kind]
