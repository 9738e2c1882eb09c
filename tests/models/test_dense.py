"""Dense layers by oneDNN compute what `nn.Linear` does."""

import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import dense
from models.dense import Linear, Product
from models.networks import LectureConvNet

has_onednn = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="this torch has no oneDNN"
)


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Chooses oneDNN on every CPU, and lists the shapes of its products."""
    shapes: list[tuple[int, ...]] = []

    def multiply(a: Tensor, b: Tensor, plain: Callable[..., Tensor] = dense.multiply) -> Tensor:
        shapes.append((*a.shape, b.shape[0]))
        return plain(a, b)

    monkeypatch.setattr(dense, "onednn_is_faster", lambda: True)
    monkeypatch.setattr(dense, "multiply", multiply)
    return shapes


def test_first_and_second_derivatives_are_those_of_a_product(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dense, "multiply", lambda a, b: a @ b.T)  # in float64
    torch.manual_seed(0)
    a, b = (torch.randn(n, 4, dtype=torch.float64, requires_grad=True) for n in (3, 5))
    assert torch.equal(Product.apply(a, b), F.linear(a, b))
    assert torch.autograd.gradcheck(Product.apply, (a, b))
    assert torch.autograd.gradgradcheck(Product.apply, (a, b))


@has_onednn
def test_a_large_layer_computes_what_a_plain_one_does(forced: list[tuple[int, ...]]) -> None:
    torch.manual_seed(0)
    layer, inputs = Linear(1024, 512), torch.randn(8, 1024, requires_grad=True)
    plain = nn.Linear(1024, 512)
    plain.load_state_dict(layer.state_dict())
    found = []
    for network in (layer, plain):
        outputs = network(inputs)
        gradients = torch.autograd.grad(outputs.square().sum(), (inputs, *network.parameters()))
        found.append((outputs, *gradients))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * theirs.abs().max().item())
    assert forced == [(8, 1024, 512), (8, 512, 1024), (512, 8, 1024)]


@has_onednn
def test_the_lectures_convolutional_network_uses_it(forced: list[tuple[int, ...]]) -> None:
    LectureConvNet((1, 28, 28), 10)(torch.rand(2, 1, 28, 28)).sum().backward()
    assert forced == [(2, 32 * 26 * 26, 128), (2, 128, 32 * 26 * 26), (128, 2, 32 * 26 * 26)]


def test_small_layers_and_other_types_are_plain(forced: list[tuple[int, ...]]) -> None:
    large = Linear(1024, 512)
    Linear(64, 64)(torch.rand(2, 64))
    large(torch.rand(0, 1024))
    large.double()(torch.rand(2, 1024, dtype=torch.float64))
    with torch.autocast("cpu", torch.bfloat16):
        large.float()(torch.rand(2, 1024))
    assert forced == []


def test_it_is_exported_as_the_plain_layer_for_any_batch(forced: list[tuple[int, ...]]) -> None:
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(
        Linear(1024, 512), (torch.rand(3, 1024),), dynamic_shapes=(batch,)
    ).module()
    assert forced == []
    assert program(torch.rand(7, 1024)).shape == (7, 512)


def test_a_trace_is_made_of_the_plain_layer_without_a_warning(
    forced: list[tuple[int, ...]],
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        torch.jit.trace(Linear(1024, 512), torch.rand(2, 1024), check_trace=False)
    assert forced == []


@pytest.mark.parametrize(
    ("vendor", "flags", "expected"),
    [
        ("AuthenticAMD", {"avx512f"}, True),
        ("AuthenticAMD", {"avx2"}, False),
        ("GenuineIntel", {"avx512f"}, False),
        ("", set(), False),
    ],
)
@has_onednn
def test_it_is_chosen_on_cpus_of_amd_with_avx512(
    vendor: str, flags: set[str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense, "cpu_entry", lambda key: vendor)
    monkeypatch.setattr(dense, "cpu_flags", lambda: flags)
    assert dense.onednn_is_faster.__wrapped__() is expected
