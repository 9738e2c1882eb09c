"""Images that are not MNIST's, through the command line from training to figures."""

import json

import numpy as np
import pytest

import cli
from tests.datamodules.pictures import write_classes, write_images
from tests.models.gans import WIDTH_2

MODELS = {
    "GAN": WIDTH_2,
    "ConditionalGAN": WIDTH_2,
    "ImageClassifier": ["--model.network.width=2"],
}
CASES = [  # sides, and the mode of the images
    ("GAN", 64, "L"), ("ConditionalGAN", 32, "RGB"), ("ImageClassifier", 32, "RGB"),
    *(pytest.param(*case, marks=pytest.mark.slow) for case in (
        ("GAN", 32, "RGB"), ("ConditionalGAN", 28, "L"), ("ImageClassifier", 64, "L"),
    )),
]  # fmt: skip


@pytest.mark.parametrize(("model", "side", "mode"), CASES)
def test_own_images_train_every_model_to_its_figures(model, side, mode, tmp_path):
    photos = write_classes(tmp_path / "photos", ("a", "b", "c"), 10, mode)
    channels = 1 if mode == "L" else 3
    data = ["--data=ImageFolder", f"--data.path={photos}", f"--data.size={side}"]
    data += [f"--data.channels={channels}", "--data.val_fraction=0.2", "--data.batch_size=8"]
    root = f"--trainer.default_root_dir={tmp_path}"
    few = ["--trainer.max_steps=2", "--trainer.accelerator=cpu", root]
    cli.main(["fit", f"--model={model}", *MODELS[model], *data, *few])
    folder = tmp_path / model.lower() / "version_0"
    assert list((folder / "figures").glob("*.png"))
    cli.main(["test", f"--ckpt_path={folder}", root])
    if model == "ImageClassifier":
        cli.main(["maximize", str(folder), "--steps=1", "--occlusion=1", f"--out={tmp_path}/out"])
        assert list((tmp_path / "out").glob("maximize_*.png"))
        return
    cli.main(["sample", str(folder), "--count=10", f"--out={tmp_path}/out"])
    with np.load(tmp_path / "out" / "samples.npz") as arrays:
        assert arrays["images"].shape == (10, side, side, 3)[: 3 + (channels == 3)]


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
    assert "frechet" in json.loads((folder / "metrics.json").read_text())["test"][-1]["scores"]
    cli.main(["sample", str(folder), "--count=40"])
    arrays = ["--data=ImageArrays", f"--data.path={folder}/samples/samples.npz"]
    cli.main([*gan, *arrays, *small[1:]])
