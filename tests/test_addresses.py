"""No command that we print or document lets others on the network in."""

import re
import shlex
import socket
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_cli import run

FOLDERS = (".", ".ci/**", ".github/**", "benchmarks/**", "callbacks", "commands", "configs/**",
           "datamodules", "docs/**", "metrics", "models", "runtime", "slurm")  # fmt: skip
KINDS = {".md", ".py", ".yml", ".yaml", ".sbatch", ".sh", ".ipynb", ""}
TEXTS = [path for folder in FOLDERS for path in ROOT.glob(f"{folder}/*")
         if path.is_file() and path.suffix in KINDS and path.name != ".git"]  # fmt: skip
OPEN = re.compile(r"bind.all|0\.0\.0\.0|(?i:host[\"' =]+(?:\*|::|\"\"|''))")
TENSORBOARD = re.compile(r"tensorboard(?:\(\)\})? --.*")


def test_nothing_listens_on_all_addresses() -> None:
    assert len(TEXTS) > 150
    for bad in ("--bind_all", "--host 0.0.0.0", "--host=::", "host='*'", 'launch(host="")'):
        assert OPEN.search(bad)
    assert [path for path in TEXTS if OPEN.search(path.read_text())] == []


def test_each_command_of_tensorboard_names_the_host() -> None:
    """Otherwise TensorBoard suggests to serve the whole network."""
    found = [(path, line) for path in TEXTS for line in TENSORBOARD.findall(path.read_text())]
    assert {"README.md", "slurm/README.md", "commands/last_words.py"} <= {
        str(path.relative_to(ROOT)) for path, _ in found
    }
    assert [line for _, line in found if "--host localhost" not in line] == []


@pytest.mark.slow
def test_tensorboard_refuses_other_addresses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, in_root: Path
) -> None:
    """127.0.0.2 is another address of this machine, as that of a network card is."""
    run("fit", "--config=configs/gates.yaml", "--trainer.max_epochs=1",
        f"--trainer.default_root_dir={tmp_path}")  # fmt: skip
    (line,) = re.findall(r"Watch it: (.*)", caplog.text)
    command = [*shlex.split(line), "--port=0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr
        output = ""
        while not (address := re.search(r"http://([^:]+):(\d+)/", output)):
            output += (new := server.stderr.readline())
            assert new, output
        assert address[1] == "localhost"
        with socket.create_connection((address[1], int(address[2])), timeout=60):
            pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", int(address[2])), timeout=60)
    finally:
        server.kill()
        server.wait()
