"""No file of a run holds a secret, the user's name, home folder or host."""

import os
import socket
import sqlite3
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning import Callback

from tests.conftest import ROOT
from tests.models.gans import WIDTH_2
from tests.test_cli import run

SECRETS = {
    "WANDB_API_KEY": "0123456789abcdef" * 2 + "01234567",
    "AWS_SECRET_ACCESS_KEY": "planted/aws+key",
    "HF_TOKEN": "hf_planted",
    "SSH_AUTH_SOCK": "/tmp/planted-agent.17",
    "MLFLOW_TRACKING_PASSWORD": "planted-mlflow",
    "LADDER_TEST_VARIABLE": "planted-at-random",
}
USER, HOME, HOST, REMOTE = "planted-user", "planted-home", "planted-host", "planted-remote"
GAN = ["--model=GAN", *WIDTH_2, "--data=Images", "--data.dataset=digits", "--data.batch_size=32",
       "--experiment=tiny", "--quality.samples=100", "--quality.final_samples=100",
       "--quality.gan_train=false", "--samples.min_steps=0", "--checkpoint.min_steps=0",
       "--trainer.max_steps=2", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1",
       "--trainer.log_every_n_steps=1"]  # fmt: skip
CNN = ["--model=ImageClassifier", "--model.network.width=2", "--data=Images",
       "--data.dataset=digits", "--experiment=cnn", "--trainer.max_steps=2",
       "--trainer.log_every_n_steps=1"]  # fmt: skip
GATES = ["--config", f"{ROOT}/configs/gates.yaml", "--trainer.max_epochs=1"]
extras = pytest.mark.extras


def texts(path: Path) -> Iterator[bytes]:
    """Yields the bytes of a file, and those inside of archives and databases."""
    content = path.read_bytes()
    yield content
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from map(archive.read, archive.namelist())
    if content.startswith(b"SQLite format 3"):  # a long text has several parts in the file
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            yield "\n".join(database.iterdump()).encode()
    if path.suffix == ".wandb":
        yield b"".join(wandb_parts(content))


def wandb_parts(content: bytes, block: int = 2**15) -> Iterator[bytes]:
    """Yields the parts of W&B's records: a header of 7 bytes cuts each where a block ends."""
    place = 7
    while place + 7 <= len(content):
        if (left := block - place % block) < 7:
            place += left
            continue
        size = int.from_bytes(content[place + 4 : place + 6], "little")
        yield content[place + 7 : place + 7 + size]
        place += 7 + size


def files_with(word: str, folder: Path) -> list[str]:
    """Returns the files in a folder whose names or contents have a word."""
    found, forms = [], (word.encode(), word.encode("utf-32-le"))  # the second in arrays of NumPy
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        if word in name or any(form in text for text in texts(path) for form in forms):
            found.append(name)
    return found


def check(folder: Path, host: str = HOST, with_folders: tuple[str, ...] = ("meta.yaml",)) -> None:
    """Checks all files. SECURITY.md names those that may tell the host or a folder."""
    assert any(folder.iterdir())
    for word in (*SECRETS.values(), USER, REMOTE):
        assert files_with(word, folder) == [], word
    assert [n for n in files_with(HOME, folder) if Path(n).name not in with_folders] == []
    for name in files_with(host, folder):
        assert Path(name).name.startswith("events.out.tfevents."), name
        assert host.encode() not in (folder / name).read_bytes()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in the home of a user with secrets, in which all commands run."""
    folder = tmp_path_factory.mktemp("m") / HOME / "work"
    folder.mkdir(parents=True)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=False)
    remote = f"https://name:{REMOTE}@example.org/{REMOTE}.git"
    subprocess.run(["git", "remote", "add", "origin", remote], cwd=folder, check=False)
    with pytest.MonkeyPatch.context() as patch:
        user = {"HOME": str(folder.parent), **dict.fromkeys(("USER", "LOGNAME", "USERNAME"), USER)}
        for name, value in (SECRETS | user).items():
            patch.setenv(name, value)
        for name in ("WANDB_MODE", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setattr(socket, "gethostname", lambda: HOST)
        patch.setattr("sys.argv", [f"{folder}/cli.py", *SECRETS.values()])
        patch.chdir(folder)
        yield folder


def fit(*args: str) -> None:
    run("fit", *args, "--trainer.accelerator=cpu")


@pytest.mark.slow
def test_no_command_writes_a_secret(work: Path) -> None:
    fit(*GAN)
    gan = "--ckpt_path=runs/tiny/version_0"
    run("test", gan)
    run("sample", gan, "--count=2")
    run("fit", gan, "--trainer.max_steps=4")
    fit(*CNN)
    cnn = "--ckpt_path=runs/cnn/version_0"
    for command in ("test", "predict", "maximize"):
        run(command, cnn)
    run("compare", "runs/tiny/version_0", "runs/cnn/version_0")
    written = {
        path.name.split(".")[0 if "tfevents" in path.name else -1]
        for path in work.rglob("runs/*/*/**/*.*")
    }
    assert written >= {"ckpt", "csv", "json", "npz", "png", "yaml", "events"}
    check(work / "runs")


@pytest.mark.slow
def test_no_sweep_writes_a_secret(work: Path) -> None:
    run("sweep", *GATES, "--seeds=1")
    check(work / "runs/gates-sweep")


@extras
@pytest.mark.slow
def test_no_export_writes_a_secret(work: Path) -> None:
    if not (work / "runs/tiny").exists():
        fit(*GAN)
    run("export", "--ckpt_path=runs/tiny/version_0")
    check(work / "runs")


@extras
@pytest.mark.slow
def test_no_search_writes_a_secret(work: Path) -> None:
    (work / "space.yaml").write_text("model.optimizer.lr: [0.1, 0.2]\n")
    run("sweep", *GATES, "--space=space.yaml", "--trials=1", "--objective=train/loss",
        "--out=runs/search")  # fmt: skip
    assert (work / "runs/search/study.db").is_file()
    check(work / "runs/search", with_folders=("config.yaml",))  # of the study


class Careless(Callback):
    """Saves the environment, as a user's callback might."""

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["environment"] = dict(os.environ)


def test_the_check_finds_what_is_planted(work: Path) -> None:
    """In a checkpoint, a compressed archive, a database, W&B's file and a name."""
    folder, secret = work / "planted", SECRETS["HF_TOKEN"]
    fit(*GATES, f"--trainer.callbacks+={__name__}.Careless", "--trainer.default_root_dir=planted")
    np.savez_compressed(folder / "a.npz", text=np.array(secret * 9))
    with sqlite3.connect(folder / "a.db") as database:
        database.execute("create table t (text text)")
        database.execute("insert into t values (?)", (secret,))
    size = 2**15 - 14  # of what the first block can hold
    parts = b"x" * (size - 3) + secret[:3].encode(), secret[3:].encode()
    heads = (b"crc_" + len(part).to_bytes(2, "little") + b"\2" for part in parts)
    content = b"".join(head + part for head, part in zip(heads, parts, strict=True))
    (folder / "a.wandb").write_bytes(b":W&B000" + content)
    (folder / secret).touch()
    names = {Path(name).name for name in files_with(secret, folder)}
    assert names == {"a.npz", "a.db", "a.wandb", secret, *(p.name for p in folder.rglob("*.ckpt"))}
    assert any(name.endswith(".ckpt") for name in names)
    with pytest.raises(AssertionError):
        check(folder)
