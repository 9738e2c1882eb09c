"""Dense layers by oneDNN compute what `nn.Linear` does."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models import dense
from models.dense import Linear, Product

has_onednn = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="this torch has no oneDNN"
)


def test_first_and_second_derivatives_are_those_of_a_product(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", lambda a, b, *_: a @ b.T)
    torch.manual_seed(0)
    a, b = (torch.randn(n, 4, dtype=torch.float64, requires_grad=True) for n in (3, 5))
    assert torch.equal(Product.apply(a, b), F.linear(a, b))
    assert torch.autograd.gradcheck(Product.apply, (a, b))
    assert torch.autograd.gradgradcheck(Product.apply, (a, b))


@has_onednn
def test_a_large_layer_computes_what_a_plain_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "onednn_is_faster", lambda: True)
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
    assert "Product" in type(found[0][0].grad_fn.next_functions[0][0]).__name__
