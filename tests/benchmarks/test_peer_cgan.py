"""The peers: their layers, a step, their samples."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks import peer_cgan
from benchmarks.peer_cgan import PEERS, Dcgan, Mlp, Peer, batches, sample, train


def convolution(inputs: int, outputs: int, kernel: int) -> int:
    return inputs * outputs * kernel**2 + outputs


def dense(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


LAYERS = {  # parameters of the layers that the authors describe: generator, discriminator
    "dcgan": (
        convolution(128, 256, 4) + convolution(10, 256, 4) + convolution(512, 256, 3)
        + convolution(256, 128, 4) + convolution(128, 1, 4),
        convolution(1, 64, 4) + convolution(10, 64, 4) + convolution(128, 256, 4)
        + convolution(256, 512, 3) + convolution(512, 1, 4),
    ),
    "mlp": (
        100 + dense(110, 128) + dense(128, 256) + dense(256, 512) + dense(512, 1024)
        + 2 * (256 + 512 + 1024) + dense(1024, 784),
        100 + dense(794, 512) + 2 * dense(512, 512) + dense(512, 1),
    ),
}  # fmt: skip


def weights(network: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


@pytest.fixture(params=PEERS)
def peer(request: pytest.FixtureRequest) -> Peer:
    return PEERS[request.param]()


def test_networks_have_the_described_sizes(peer: Peer) -> None:
    (name,) = [name for name, kind in PEERS.items() if isinstance(peer, kind)]
    assert (len(weights(peer.g)), len(weights(peer.d))) == LAYERS[name]


def test_images_and_outputs_depend_on_the_class(peer: Peer) -> None:
    latents, labels = torch.randn(1, peer.latent_dim).expand(2, -1), torch.tensor([3, 8])
    images = peer.g.eval()(latents, labels)
    assert images.shape == (2, 1, 28, 28)
    assert images.min() >= peer.low
    assert images.max() <= 1
    assert not torch.equal(images[0], images[1])
    outputs = peer.d.eval()(images[:1].expand(2, -1, -1, -1), labels)
    assert outputs.shape == (2,)
    assert outputs[0] != outputs[1]


def test_a_step_trains_each_network_against_the_other(peer: Peer) -> None:
    before = weights(peer.g), weights(peer.d)
    real, labels = torch.rand(8, 1, 28, 28), torch.arange(8)
    peer.step(real, labels)
    assert not torch.equal(before[0], weights(peer.g))
    assert not torch.equal(before[1], weights(peer.d))
    for _ in range(5):
        peer.step(real, labels)
    fakes = peer.generate(labels).detach()
    peer.d.eval()
    assert peer.d(real, labels).mean() > peer.d(fakes, labels).mean()


def test_a_generators_turn_leaves_the_gradients_of_d_alone(peer: Peer) -> None:
    labels = torch.arange(4)
    loss = peer.d(peer.generate(labels), labels).mean()
    before = weights(peer.d)
    peer_cgan.update(peer.g_optimizer, loss)
    assert all(p.grad is None for p in peer.d.parameters())
    assert torch.equal(before, weights(peer.d))


def test_each_epoch_has_whole_batches_of_different_images() -> None:
    first, second, third = islice(batches(25, 10), 3)
    assert len({*first.tolist(), *second.tolist()}) == 20
    assert len(third) == 10
    assert {*third.tolist()} <= {*range(25)}


class Flat(nn.Module):
    """Draws images of one shade per class."""

    def __init__(self, shades: list[float]) -> None:
        super().__init__()
        self.shades = torch.tensor(shades)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        return self.shades[labels][:, None, None, None].expand(-1, 1, 28, 28)


@pytest.mark.parametrize("kind", [Dcgan, Mlp])
def test_samples_are_pixels_of_their_classes(kind: type[Peer]) -> None:
    peer = kind()
    low = peer.low
    peer.g = Flat([low, 1.0, (low + 1) / 2, *[low] * 7])
    images = sample(peer, torch.arange(23) % 10)
    assert images.shape == (23, 28, 28)
    assert images.dtype == torch.uint8
    assert images[10:13, 0, 0].tolist() == [0, 255, 128]


def test_training_ends_when_its_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    peer, clock = Mlp(), iter([5.0, 5.0, 6.0, 7.0, 8.5])
    monkeypatch.setattr(peer_cgan.time, "process_time", lambda: next(clock))
    seen: list[Tensor] = []
    monkeypatch.setattr(peer, "step", lambda real, labels: seen.append(real))
    images = torch.full((64, 1, 28, 28), 255, dtype=torch.uint8)
    images[:, :, :14] = 0
    assert train(peer, images, torch.zeros(64), cpu_seconds=3, bf16=False) == 3
    assert [(x.min().item(), x.max().item()) for x in seen] == [(-1, 1)] * 3


def test_a_network_is_used_as_updated_also_in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    peer, clock, outputs = Mlp(), iter([0.0, 0.0, 9.0]), []

    def step(real: Tensor, labels: Tensor) -> None:
        peer.d.eval()
        outputs.append(peer.d(real, labels))
        with torch.no_grad():
            peer.d.layers[0].weight.zero_()
        outputs.append(peer.d(real, labels))

    monkeypatch.setattr(peer_cgan.time, "process_time", lambda: next(clock))
    monkeypatch.setattr(peer, "step", step)
    images = torch.full((64, 1, 28, 28), 255, dtype=torch.uint8)
    train(peer, images, torch.zeros(64, dtype=torch.long), cpu_seconds=1, bf16=True)
    assert outputs[0].dtype == torch.bfloat16
    assert not torch.equal(*outputs)


def test_a_peer_is_trained_and_sampled_from_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "samples.npz"
    peer_cgan.main(["mlp", "--dataset=digits", "--cpu-seconds=0.2", "--count=30", f"--out={file}"])
    with np.load(file, allow_pickle=False) as found:
        assert found["images"].shape == (30, 28, 28)
        assert found["images"].dtype == np.uint8
        assert found["labels"].shape == (30,)
        assert found["steps"] > 0
        assert 0.2 <= found["cpu_seconds"] < 5
        assert found["batch_size"] == 64
