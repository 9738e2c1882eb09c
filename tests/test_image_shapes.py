"""Images that are not MNIST's, through the command line from training to figures."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

import cli
from tests.models.gans import WIDTH_2

SHAPES = {"3x32x32": (3, 32), "1x64x64": (1, 64)}
MODELS = {
    "GAN": WIDTH_2,
    "ConditionalGAN": WIDTH_2,
    "ImageClassifier": ["--model.network.width=2"],
}


# Quick: each model once, and each shape.
CASES = [("GAN", "1x64x64"), ("ConditionalGAN", "3x32x32"), ("ImageClassifier", "3x32x32")]
REST = [case for case in product(MODELS, SHAPES) if case not in CASES]


@pytest.mark.parametrize(
    ("model", "shape"), [*CASES, *(pytest.param(*case, marks=pytest.mark.slow) for case in REST)]
)
def test_training_test_and_figures(model: str, shape: str, tmp_path: Path) -> None:
    channels, side = SHAPES[shape]
    data = [
        "--data=tests.datasets.Stripes", f"--data.channels={channels}", f"--data.height={side}",
        "--data.num_classes=5", "--data.num_train=64",
    ]  # fmt: skip
    root = f"--trainer.default_root_dir={tmp_path}"
    run = ["--trainer.max_steps=2", "--trainer.accelerator=cpu", root]
    cli.main(["fit", f"--model={model}", *MODELS[model], *data, *run])
    folder = tmp_path / model.lower() / "version_0"
    assert list((folder / "figures").glob("*.png"))
    cli.main(["test", f"--ckpt_path={folder}", root])
    maximize = ["--steps=1", "--occlusion=1", f"--out={tmp_path}/maximize", root]
    cli.main(["maximize", f"--ckpt_path={folder}", *maximize])
    assert (tmp_path / "maximize" / "filters.png").is_file()
    if model != "ImageClassifier":
        cli.main(["sample", f"--ckpt_path={folder}", "--count=10", f"--out={tmp_path}/out", root])
        with np.load(tmp_path / "out" / "samples.npz") as arrays:
            images = arrays["images"]
        assert images.shape[:3] == (10, side, side)
        assert images.shape[3:] == (() if channels == 1 else (3,))
