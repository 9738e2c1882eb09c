"""The command line as a user meets it."""

import errno
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

import cli
from commands import COMMANDS
from commands.ladder_cli import LadderCLI
from runtime.run_folder import RunFolder
from tests.conftest import ROOT
from tests.datamodules.pictures import write_classes
from tests.models.gans import WIDTH_2

CONFIGS = sorted(path for path in (ROOT / "configs").glob("**/*.yaml"))
OVERLAYS = [path for path in CONFIGS if path.parent.name in ("trainer", "logger")]
SPACES = [path for path in CONFIGS if path.parent.name == "sweep"]
EXPERIMENTS = [path for path in CONFIGS if path not in OVERLAYS + SPACES]
TINY_GAN = ["--model=GAN", *WIDTH_2]
DIGITS = ["--data=Images", "--data.dataset=digits", "--data.batch_size=32"]


def run(*args: str) -> None:
    cli.main([*args])


def fails(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """The one line that a mistaken command prints."""
    with pytest.raises(SystemExit) as stopped:
        run(*args)
    assert stopped.value.code == 2
    (line,) = [n for n in capsys.readouterr().err.splitlines() if n.startswith("error:")]
    return line


def fresh(script: str, *args: str) -> "subprocess.CompletedProcess[str]":
    """Runs a script in a new process, in the project's folder."""
    command = [sys.executable, "-c", script, *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def parsed(*args: str) -> LadderCLI:
    """The command line after parsing, before anything is built."""
    command = LadderCLI.__new__(LadderCLI)
    command.before_instantiate_classes = command.instantiate_classes = lambda: None  # type: ignore
    command._run_subcommand = lambda subcommand: None  # type: ignore[method-assign]
    command.__init__([*args])  # type: ignore[misc]
    return command


LIGHT = "import sys, cli; sys.argv = ['cli.py', *sys.argv[1:]]; "
HEAVY = "print([name for name in ('torch', 'lightning', 'pandas') if name in sys.modules])"


@pytest.mark.parametrize(
    ("args", "code", "expected"),
    [
        (["--help"], 0, "usage: python cli.py"),
        ([], 2, "usage: python cli.py"),
        (["tain"], 2, "error: there is no command 'tain': one of fit, "),
        (["compare", "nothing"], 2, "error: there is nothing to compare in nothing"),
    ],
)
def test_light_commands_import_nothing_heavy(args: list[str], code: int, expected: str) -> None:
    script = f"import atexit; atexit.register(lambda: {HEAVY}); {LIGHT} cli.main()"
    done = fresh(script, *args)
    assert done.returncode == code, done.stderr
    assert (done.stderr or done.stdout).startswith(expected)
    assert done.stdout.endswith("[]\n")
    for name in COMMANDS:
        assert name in done.stdout + done.stderr or args[:1] == ["compare"]


def test_a_call_from_python_restores_all_filters(in_root: Path) -> None:
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    before = [*warnings.filters], [*logger.filters]
    run("fit", "--config=configs/gates.yaml", "--trainer.fast_dev_run=1")
    assert ([*warnings.filters], [*logger.filters]) == before


@pytest.mark.parametrize(
    ("name", "near"),
    [("tain", "fit"), ("train", "fit"), ("smaple", "sample"), ("evaluate", "validate")],
)
def test_an_unknown_command_is_answered_with_the_nearest(
    name: str, near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(capsys, name)
    assert line.startswith(f"error: there is no command '{name}': one of fit, validate")
    assert line.endswith(f"Did you mean {near}?")


def test_lightnings_parser_knows_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    line = fails(capsys, "--print_config", "tain")
    assert "invalid choice: 'tain'" in line
    assert all(name in line for name in COMMANDS)


def offline(path: Path, folder: Path) -> list[str]:
    """Arguments that replace a config's data set by the embedded one, or by images in a folder."""
    data = yaml.safe_load(path.read_text())["data"]
    own = [f"--data.path={folder}", "--data.val_fraction=0.2", "--data.batch_size=8"]
    digits = ["--data.dataset=digits", "--data.batch_size=8"]
    return {"Images": digits, "ImageFolder": own}.get(data["class_path"], [])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's own images."""
    return write_classes(tmp_path_factory.mktemp("photos"))


@pytest.mark.parametrize(
    "path", EXPERIMENTS, ids=lambda path: path.relative_to(ROOT / "configs").as_posix()
)
def test_every_config_trains_and_validates(
    path: Path, in_root: Path, tmp_path: Path, photos: Path
) -> None:
    quick = ["--trainer.fast_dev_run=1", "--quality.samples=100"]
    root = f"--trainer.default_root_dir={tmp_path}"
    run("fit", f"--config={path}", *offline(path, photos), *quick, root)
    assert not list(tmp_path.iterdir())  # a trial leaves nothing


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: path.stem)
def test_every_overlay_composes_with_an_experiment(path: Path, in_root: Path) -> None:
    """Parsed only: some ask for devices that are not here."""
    command = parsed("fit", "--config=configs/cgan.yaml", f"--config={path}")
    given = yaml.safe_load(path.read_text())["trainer"]
    parsed_values = command.config.fit.trainer
    if logger := given.pop("logger", None):
        assert parsed_values.logger.class_path.endswith(f".{logger['class_path']}")
    assert {key: parsed_values[key] for key in given} == given


def test_a_network_that_replaces_the_default_has_its_own_defaults(in_root: Path) -> None:
    flags = ["--model=ImageClassifier", "--model.network=VGG16", "--data=Images"]
    network = parsed("fit", *flags).config.fit.model.init_args.network
    assert network.init_args.dropout == 0.5  # the default's is 0.0


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small run."""
    root = tmp_path_factory.mktemp("runs")
    run("fit", *TINY_GAN, *DIGITS, "--trainer.max_steps=8", "--trainer.log_every_n_steps=2",
        "--trainer.limit_train_batches=4", f"--trainer.default_root_dir={root}",
        "--samples.min_steps=0", "--checkpoint.min_steps=0", "--experiment=tiny",
        "--quality.samples=100", "--quality.final_samples=100")  # fmt: skip
    return root / "tiny" / "version_0"


def test_a_run_folder_says_everything(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert {"config.yaml", "metrics.csv", "checkpoints", "figures"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    figures = {path.name for path in (finished / "figures").iterdir()}
    steps = {f"samples_{step:07d}.png" for step in (0, 4, 8)}
    assert figures == {"data_examples.png", "samples.png", "curves.png"} | steps
    checkpoints = {path.name for path in (finished / "checkpoints").iterdir()}
    assert checkpoints == {"last.ckpt", "best.ckpt"} | {
        f"epoch={e:03d}-step={4 * e + 4:07d}.ckpt" for e in (0, 1)
    }
    assert yaml.safe_load((finished / "config.yaml").read_text())["trainer"]["max_steps"] == 8


def test_checkpoints_hold_both_networks_and_plain_values(finished: Path) -> None:
    checkpoint = torch.load(finished / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 8
    networks = {name.split(".")[0] for name in checkpoint["state_dict"]}
    assert {"generator", "discriminator", "grid_latents"} <= networks
    assert checkpoint["hyper_parameters"]["trunk"]["init_args"] == {"width": 2}
    assert checkpoint["datamodule_hyper_parameters"]["dataset_found"] == "digits"


def test_the_last_checkpoint_is_used_with_nothing_but_the_run(
    finished: Path, tmp_path: Path
) -> None:
    before = (finished / "config.yaml").read_text()
    run("validate", f"--ckpt_path={finished}")
    run("test", f"--ckpt_path={finished}")
    assert (finished / "config.yaml").read_text() == before


def test_pictures_have_a_place_for_each_sample(finished: Path) -> None:
    with Image.open(finished / "figures" / "samples.png") as picture:
        assert picture.size == (2 * (5 * 30 + 2), 2 * (5 * 30 + 2))


def test_tensorboard_has_scalars_images_and_the_graph(finished: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished), size_guidance={"images": 0}).Reload()
    assert {"train/d_loss", "train/g_loss", "val/d_loss"} <= set(events.Tags()["scalars"])
    assert [image.step for image in events.Images("samples")] == [0, 4, 8]
    assert [scalar.step for scalar in events.Scalars("train/d_loss")] == [1, 3, 5, 7]
    assert events.Tags()["graph"]


def test_hyperparameters_of_the_checkpoint_win_with_a_warning(finished: Path) -> None:
    with pytest.warns(UserWarning, match="model.latent_dim.*4.*9 is not used"):
        run("validate", "--model=GAN", "--model.latent_dim=9", *DIGITS,
            "--quality.final_samples=0", f"--ckpt_path={finished}")  # fmt: skip


def test_resuming_on_other_data_is_refused(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(capsys, "fit", f"--config={finished}/config.yaml", f"--ckpt_path={finished}",
                 "--data.val_fraction=0.2", "--trainer.max_steps=9")  # fmt: skip
    assert "--data.val_fraction" in line


CGAN = (ROOT / "configs" / "cgan.yaml").read_text()
MISTAKES = {
    "class": (
        "ConditionalGAN",
        "ConditionalGan",
        "model: there is no class",
        "ConditionalGAN?",
    ),
    "key": ("latent_dim", "latnt_dim", "model: ConditionalGAN has no option", "latent_dim?"),
    "type": ("latent_dim: 64", "latent_dim: big", "model.latent_dim: expected int, got 'big'", ""),
    "part": ("ProjectionHead", "ProjectonHead", "no class 'ProjectonHead'", "ProjectionHead?"),
    "nested": ("{lr:", "{lrr:", "model.generator_optimizer: Adam has no option 'lrr'", "lr?"),
    "trainer": ("max_steps", "max_stps", "no option 'trainer.max_stps'", "trainer.max_steps?"),
    "top": ("trainer:", "trainr:", "no option 'trainr.max_steps'", "Did you mean trainer"),
    "twice": ("data:", "model: 1\ndata:", "the key 'model' appears twice", ""),
    "strategy": ("{max_steps", "{strategy: ddpp, max_steps", "trainer:", "ddpp"),
    "yaml": ("trainer: {", "trainer: [{", "not valid YAML", ""),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line_with_a_remedy(
    mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new, *expected = MISTAKES[mistake]
    assert old in CGAN
    path = tmp_path / "mine.yaml"
    path.write_text(CGAN.replace(old, new, 1))
    line = fails(capsys, "fit", f"--config={path}")
    for part in expected:
        assert part in line
    assert mistake == "strategy" or str(path) in line


def test_mistakes_on_the_command_line_do_not_blame_a_file(
    in_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(capsys, "fit", "--config=configs/cgan.yaml", "--trainer.max_steps=x")
    assert line == "error: trainer.max_steps: expected int, got 'x'."
    line = fails(capsys, "fit")
    assert line.startswith("error: missing: --model. Give a config file")
    line = fails(capsys, "test")
    assert line.endswith("Give a run, `python cli.py test --ckpt_path RUN`.")
    assert "no checkpoint below" in fails(
        capsys, "fit", "--config=configs/cgan.yaml", "--ckpt_path=last", "--experiment=none"
    )


OPTIONS = {
    "--trainer.max_step=1": "there is no option '--trainer.max_step'. Did you mean --trainer.max_s",
    "--checkpoint.keep=1": "there is no option '--checkpoint.keep'.",  # no abbreviations
    "--model=nothing.Net": "model: cannot import nothing.Net: No module named 'nothing'.",
    "--model=models.Net": "model: cannot import models.Net: module 'models' has no attribute 'Net'",
    "--model=torch.nn.Linear": "model: torch.nn.Linear is not a LightningModule.",
    "--model=Adam": "model: Adam is not the kind of class that is needed here.",
    "--model.latent=x": "model.latent: expected ",
    "--model.latnt_dim=8": "ConditionalGAN has no option 'latnt_dim'. Did you mean latent_dim?",
    "--model.generator.widht=8": "ModernGenerator has no option 'widht'. Did you mean width?",
    "--model.generator.width=x": "model.generator.width: expected int, got 'x'.",
    "--model.generator=ModernGenrator": "no class 'ModernGenrator'. Did you mean ModernGenerator",
    "--model.num_classes=5": "model.num_classes is 5, and data Images has 10: leave out --model.n",
    "--model.generator_optimizer=Adm": "there is no class 'Adm'. Did you mean Adam",
    "--model.generator_optimizer.lr=x": "model.generator_optimizer.lr: expected float, got 'x'.",
    "--data.val_fraction=x": "data.val_fraction: expected float, got 'x'.",
    "--trainer.limit_val_batches=x": "trainer.limit_val_batches: expected float or int, got 'x'.",
    "--trainer.precision=bf17": "or 'auto', got 'bf17'. Did you mean bf16?",
    "--trainer.callbacks+=EarlyStoping": "trainer.callbacks: there is no class 'EarlyStoping'. Did",
    "--trainer.logger=CSVLogger": "CSVLogger needs save_dir: give --trainer.logger.save_dir.",
}


@pytest.mark.parametrize("option", OPTIONS)
def test_wrong_options_are_one_line_with_a_remedy(
    option: str, in_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(capsys, "fit", "--config=configs/cgan.yaml", option)
    assert OPTIONS[option] in line
    assert "cgan.yaml" not in line
    assert len(line) < 300


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_random_weights_are_used_only_on_request(
    command: str, in_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [f"--trainer.default_root_dir={tmp_path}", "--config=configs/iris.yaml"]
    line = fails(capsys, command, *flags)
    assert f"`python cli.py {command} --ckpt_path RUN`, or --untrained true." in line
    assert not list(tmp_path.iterdir())
    run(command, *flags, "--untrained=true")
    assert list(tmp_path.iterdir())


def test_predict_on_a_gan_is_refused_before_data_is_loaded(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = ["--data.dataset=mnist", f"--data.data_dir={tmp_path}"]
    line = fails(capsys, "predict", f"--ckpt_path={finished}", *nowhere)
    assert line.startswith("error: predict is for classifiers and regressors; draw from a GAN with")
    assert f"`python cli.py sample --ckpt_path {finished}/checkpoints/last.ckpt`" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "loggers", "others"),
    [
        ([], [], []),
        (["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=x"], [], ["CSVLogger"]),
        (["--trainer.logger=[{class_path: CSVLogger, init_args: {save_dir: x}}]"],
         [], ["CSVLogger"]),
        (["--trainer.logger=false"], [], None),
        (["--trainer.fast_dev_run=1"], ["DummyLogger"], None),
        (["--trainer.fast_dev_run=1", "--trainer.logger=MLFlowLogger"], ["DummyLogger"], None),
        (["--trainer.fast_dev_run=1", "--trainer.logger=false"], ["DummyLogger"], None),
    ],
)  # fmt: skip
def test_a_users_logger_is_left_to_the_run_folder(
    flags: list[str], loggers: list[str], others: list[str] | None, in_root: Path
) -> None:
    command = parsed("fit", "--config=configs/gates.yaml", *flags)
    LadderCLI.instantiate_classes(command)
    assert [type(logger).__name__ for logger in command.trainer.loggers] == loggers
    callbacks = command.trainer.callbacks  # type: ignore[attr-defined]  # set by a connector
    folders = [callback for callback in callbacks if isinstance(callback, RunFolder)]
    made = [[type(make()).__name__ for make in folder.others] for folder in folders]
    assert made == ([] if others is None else [others])


def test_a_mistake_leaves_the_process_with_two_and_no_traceback() -> None:
    command = [sys.executable, "cli.py", "fit", "--config", "configs/nothing.yaml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --config configs/nothing.yaml: no such file.")
    assert "Traceback" not in done.stderr


def test_a_run_without_checkpoints_promises_none(
    in_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(
        "fit", "--config=configs/gates.yaml", "--trainer.enable_checkpointing=false",
        "--trainer.max_epochs=1", f"--trainer.default_root_dir={tmp_path}",
    )  # fmt: skip
    assert not list(tmp_path.glob("**/*.ckpt"))
    assert "--ckpt_path" not in capsys.readouterr().err


@pytest.mark.slow
def test_training_collects_garbage_and_takes_subnormal_numbers_as_zero(tmp_path: Path) -> None:
    (tmp_path / "spy.py").write_text(
        "import gc, torch\nfrom lightning import Callback\n"
        "class Spy(Callback):\n"
        "    def on_train_start(self, *_):\n"
        "        print('collects:', gc.isenabled(), gc.get_freeze_count() > 100_000)\n"
        "        print('subnormal:', int((torch.full((2**22,), 2e-38) / 4).count_nonzero()))\n"
    )
    # A network whose making takes several threads: they start before there is a trainer.
    command = [sys.executable, "cli.py", "fit", "--config=configs/vgg16.yaml"]
    command += ["--data.dataset=digits", "--trainer.fast_dev_run=true"]
    command += ['--trainer.callbacks+={"class_path": "spy.Spy"}']
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100
    )
    assert "collects: True True" in done.stdout, done.stderr
    assert "subnormal: 0" in done.stdout


def test_a_models_own_complaint_is_one_line_too(
    in_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(
        capsys, "fit", "--config=configs/mnist_dense.yaml", "--model.network.activation=relo"
    )
    assert line.startswith("error: there is no activation 'relo'")


def test_a_missing_data_set_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    line = fails(capsys, "fit", "--model", "IrisMLP")
    assert line.startswith("error: missing: --data. fit needs a data set: give --data")


def test_an_option_before_its_class_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    line = fails(capsys, "fit", "--model=GAN", "--data.batch_size=16", "--data=Images")
    assert line == "error: --data.batch_size comes before its class: give --data CLASS first."


IRIS = ["--config=configs/iris.yaml", "--trainer.max_epochs=1"]
SENSELESS = {
    "trainer.log_every_n_steps is -1: set it to 0 or more": ["--trainer.log_every_n_steps=-1"],
    "trainer.check_val_every_n_epoch is 0": ["--trainer.check_val_every_n_epoch=0"],
    "trainer.val_check_interval is 0": ["--trainer.val_check_interval=0"],
    "trainer.accumulate_grad_batches is 0": ["--trainer.accumulate_grad_batches=0"],
    "trainer.gradient_clip_val is -1": ["--trainer.gradient_clip_val=-1"],
    "trainer.max_steps is 0, so nothing would be": ["--trainer.max_steps=0"],
    "trainer.max_epochs is 0, so nothing would be": ["--trainer.max_epochs=0"],
    "trainer.limit_train_batches is 0": ["--trainer.limit_train_batches=0"],
    "--experiment ../x: give the name of a folder below": ["--experiment=../x"],
    "--seed_everything is -1": ["--seed_everything=-1"],
    "--seed_everything is 100000000000000": ["--seed_everything=100000000000000"],
    "model.optimizer: Invalid learning rate: -1": ["--model.optimizer.lr=-1"],
    "model.network: cannot import no_file.Net: No module": ["--model.network=no_file.Net"],
    "Early stopping conditioned on metric `val/loss` which": [
        "--trainer.callbacks=EarlyStopping", "--trainer.callbacks.monitor=val/loss",
    ],
    "When using the learning rate finder": ["--trainer.callbacks=LearningRateFinder"],
}  # fmt: skip


@pytest.mark.parametrize("message", SENSELESS)
def test_a_senseless_value_is_one_line(
    message: str, in_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = f"--trainer.default_root_dir={tmp_path}"
    assert message in fails(capsys, "fit", *IRIS, root, *SENSELESS[message])


@pytest.mark.parametrize("model", [IRIS, [*TINY_GAN, *DIGITS, "--trainer.max_steps=2"]])
def test_float64_trains(model: list[str], in_root: Path, tmp_path: Path) -> None:
    root = f"--trainer.default_root_dir={tmp_path}"
    run("fit", *model, root, "--trainer.precision=64-true")


def test_a_full_disk_is_one_line(
    in_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/data/x")

    for place, expected in {
        "torch.save": "last.ckpt cannot be written (No space left on device",
        "callbacks.curves.Curves.on_train_end": "error: /data/x: No space left on device. Make",
    }.items():
        with monkeypatch.context() as patch:
            patch.setattr(place, full)
            with pytest.raises(SystemExit) as stopped:
                cli.main(["fit", *IRIS, f"--trainer.default_root_dir={tmp_path}"])
        assert stopped.value.code == 1
        (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error")]
        assert expected.split(" ", 1)[1] in line
