"""Equal commands end with equal weights, also if new memory is not zero."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning import Callback

from tests.conftest import ROOT
from tests.datamodules.pictures import write_classes
from tests.test_cli import run
from tests.test_configs import offline

RESNET = (
    "--model=PretrainedClassifier", "--model.network.architecture=resnet18",
    "--model.network.weights=none", "--data=ImageFolder",
)  # fmt: skip
FAMILIES = [
    *("cgan", "gan", "flow", "drift", "vae", "mnist_cnn", "mnist_dense", "vgg16"),
    *("lecture/cgan", "lecture/gan", "lecture/mnist_cnn", "lecture/mnist_dense"),
    *("own/cgan", "own/classifier", "own/flow", "own/gan", "own/vae"),
    *("points/drift", "points/flow", "points/gan", "points/vae"),
    *(32, 16),  # pixels of a ResNet-18, whose last maps have one pixel
]


def hash_weights(photos: str) -> None:
    """Trains each family for 7 or 8 steps in the precision of the machine, and prints hashes."""
    for family in FAMILIES:
        path = ROOT / "configs" / f"{family}.yaml"
        arguments = [f"--data.path={photos}", "--data.batch_size=8", f"--data.size={family}"]
        if path.is_file():
            arguments = [f"--config={path}", *offline(path, Path(photos)), "--quality.samples=100"]
        else:
            arguments = [*RESNET, *arguments]
        if family == "drift":  # which needs some images of each class, and has 7 batches then
            arguments.append("--data.batch_size=128")
        print(f"HASH {family}", flush=True)
        run(
            "fit",
            *arguments,
            "--trainer.fast_dev_run=8",
            "--trainer.callbacks+=tests.test_same_bits.Hashed",
        )


class Hashed(Callback):
    """Prints a hash of weights and optimizer states when a training ends.

    Adam does not move weights whose gradient has an infinite square, and its state keeps that.
    """

    def on_train_end(self, trainer, pl_module):
        assert trainer.fit_loop.epoch_loop.batch_progress.total.completed >= 7
        digest = hashlib.sha256()
        tensors = [*pl_module.state_dict().values()]
        for optimizer in trainer.optimizers:
            states = optimizer.state_dict()["state"].values()
            tensors += [v for state in states for v in state.values() if torch.is_tensor(v)]
        for values in tensors:
            assert values.isfinite().all()  # all NaN are equal
            digest.update(values.numpy().tobytes())
        print("\nHASH", digest.hexdigest(), flush=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="MALLOC_PERTURB_ is of glibc")
def test_weights_do_not_depend_on_what_is_in_new_memory(tmp_path):
    """glibc fills it, and what is freed, with bytes that make large and small bf16 numbers."""
    photos = write_classes(tmp_path / "photos", count=40)
    script = f"from tests.test_same_bits import hash_weights; hash_weights({str(photos)!r})"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env=os.environ | {"MALLOC_PERTURB_": value, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for value in ("128", "1")
    ]
    found = [
        [line for line in child.communicate()[0].splitlines() if line.startswith("HASH")]
        for child in children
    ]
    assert len(found[0]) == 2 * len(FAMILIES)
    assert found[0] == found[1]
