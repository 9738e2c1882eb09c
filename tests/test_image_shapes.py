"""Images that are not MNIST's, through the command line from training to figures."""

import json
from itertools import product

import numpy as np
import pytest

import cli
from tests.datamodules.pictures import write_classes, write_images
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
def test_training_test_and_figures(model, shape, tmp_path):
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
    cli.main(["test", f"--ckpt_path={folder}", root, "--trust=true"])
    if model == "ImageClassifier":
        maximize = ["--steps=1", "--occlusion=1", f"--out={tmp_path}/maximize"]
        cli.main(["maximize", f"--ckpt_path={folder}", "--trust=true", *maximize])
        assert list((tmp_path / "maximize").glob("maximize_*.png"))
    else:
        cli.main(["sample", str(folder), "--count=10", f"--out={tmp_path}/out", "--trust=true"])
        with np.load(tmp_path / "out" / "samples.npz") as arrays:
            images = arrays["images"]
        assert images.shape[:3] == (10, side, side)
        assert images.shape[3:] == (() if channels == 1 else (3,))


SIDES = {28: "L", 32: "RGB", 64: "RGB"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Folders of grey and of colour images of three classes."""
    root = tmp_path_factory.mktemp("photos")
    return {mode: write_classes(root / mode, ("a", "b", "c"), 10, mode) for mode in ("L", "RGB")}


OWN = [("ConditionalGAN", 32)]
OTHERS = [case for case in product(MODELS, SIDES) if case not in OWN]


@pytest.mark.parametrize(
    ("model", "side"), [*OWN, *(pytest.param(*case, marks=pytest.mark.slow) for case in OTHERS)]
)
def test_own_images_train_every_model(model, side, photos, tmp_path):
    data = ["--data=ImageFolder", f"--data.path={photos[SIDES[side]]}", f"--data.size={side}"]
    channels = 1 if SIDES[side] == "L" else 3
    data += [f"--data.channels={channels}"]
    few = ["--data.val_fraction=0.2", "--data.batch_size=8"]
    run = ["--trainer.max_steps=2", "--trainer.accelerator=cpu"]
    root = f"--trainer.default_root_dir={tmp_path}"
    cli.main(["fit", f"--model={model}", *MODELS[model], *data, *few, *run, root])
    assert (tmp_path / model.lower() / "version_0" / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.filterwarnings("ignore:quality.judge")  # it knows another split
def test_images_without_classes_train_a_gan_to_the_end(tmp_path):
    """All default callbacks cope with data without classes, and samples are data again."""
    root = f"--trainer.default_root_dir={tmp_path}"
    small = ["--data.size=16", "--data.batch_size=8", "--trainer.max_steps=2", root]
    classes = ["--data=ImageFolder", f"--data.path={write_classes(tmp_path / 'classes')}", *small]
    judge = ["--model.network=metrics.judge.JudgeNetwork", "--model.network.width=2"]
    cli.main(["fit", "--model=ImageClassifier", *judge, "--experiment=judge", *classes])
    gan = ["fit", "--model=GAN", *WIDTH_2, "--experiment=gan"]
    photos = ["--data=ImageFolder", f"--data.path={write_images(tmp_path / 'photos', 40)}"]
    judged = f"--quality.judge={tmp_path}/judge"
    cli.main([*gan, *photos, "--data.labels=none", *small, judged])
    cli.main(["test", f"--ckpt_path={tmp_path}/gan", root])
    folder = tmp_path / "gan" / "version_0"
    assert "frechet" in json.loads((folder / "metrics.json").read_text())["test"]["scores"]
    cli.main(["sample", str(folder), "--count=40"])
    arrays = ["--data=ImageArrays", f"--data.path={folder}/samples/samples.npz"]
    cli.main([*gan, *arrays, *small[1:]])
