"""The examples of CONTRIBUTING.md, each used from a file outside the project."""

import json
import re
import sys
from pathlib import Path

import pytest

import cli
from tests.conftest import ROOT
from tests.models.gans import WIDTH_2

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
EXAMPLES = dict(re.findall(r"<!-- example: ([a-z ]+) -->\n```python\n(.*?)```", TEXT, re.DOTALL))
DIGITS = ["--data=Images", "--data.dataset=digits", "--data.batch_size=32"]
OPTIONS = {
    "network": ["--model=ImageClassifier", "--model.network=PatchNet", "--model.network.width=4"],
    "head": [
        "--model=ConditionalGAN", *WIDTH_2, "--model.head=CosineHead", "--model.head.scale=2",
    ],
    "loss": ["--model=GAN", *WIDTH_2, "--model.head.loss=Hinge"],
    "score": ["--model=GAN", *WIDTH_2, "--quality.extra_scores=Brightness"],
    "data set": ["--model=ImageClassifier", "--model.network.width=2", "--data=Bands"],
}  # fmt: skip


@pytest.mark.parametrize("kind", OPTIONS)
def test_an_example_is_one_short_file_that_the_command_line_uses(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert EXAMPLES.keys() == OPTIONS.keys()
    assert EXAMPLES[kind].count("\n") < 30
    (tmp_path / "my_file.py").write_text(EXAMPLES[kind])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_file", raising=False)
    names = re.findall(r"class (\w+)", EXAMPLES[kind])
    options = [re.sub(rf"=({'|'.join(names)})$", r"=my_file.\1", part) for part in OPTIONS[kind]]
    assert any("my_file" in option for option in options)
    data = [] if kind == "data set" else DIGITS
    run = ["--trainer.max_steps=2", "--trainer.accelerator=cpu", "--trainer.limit_val_batches=1"]
    quick = ["--quality.final_samples=150", "--quality.gan_train=false"]
    root = f"--trainer.default_root_dir={tmp_path}/runs"
    cli.main(["fit", *data, *options, *run, *quick, root])
    (folder,) = (tmp_path / "runs").glob("*/version_0")
    cli.main(["test", f"--ckpt_path={folder}", root])  # the checkpoint builds the same parts
    scores = json.loads((folder / "metrics.json").read_text())["test"]["scores"]
    if kind == "score":
        assert scores["brightness"] > 0
