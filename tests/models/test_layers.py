"""Layers equal to torch's: values, gradients, and gradients of gradients where R1 needs them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models import fast_layers
from models.fast_layers import Dropout, Linear, MaxPool2d, Product
from models.layers import (
    Flatten,
    MinibatchStd,
    UpsampleConv2d,
    joined_batches,
    spectral_normalize_,
)


@pytest.mark.parametrize("kernel_size", [3, 5, 7])
def test_upsample_conv_equals_upsampling_then_convolving(kernel_size):
    torch.manual_seed(0)
    fast = UpsampleConv2d(3, 2, kernel_size).double()
    plain = nn.Sequential(
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.Conv2d(3, 2, kernel_size, padding="same").double(),
    )
    plain[1].weight.data.copy_(fast.weight.data)
    plain[1].bias.data.copy_(fast.bias.data)
    inputs = torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    seed = torch.randn(2, 2, 10, 8, dtype=torch.float64)  # of the backward pass
    results = []
    for network, layer in ((fast, fast), (plain, plain[1])):
        output = network(inputs)
        gradients = torch.autograd.grad(output, (inputs, layer.weight, layer.bias), seed)
        results.append((output, *gradients))
    for fast_result, plain_result in zip(*results, strict=True):
        torch.testing.assert_close(fast_result, plain_result, rtol=1e-12, atol=1e-12)


def test_flattening_returns_gradients_in_the_layout_of_the_images():
    torch.manual_seed(0)
    images = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last).requires_grad_()
    weights = torch.randn(60)
    results = []
    for layer in (Flatten(), nn.Flatten()):
        inside = images * 2
        values = (layer(inside) @ weights).tanh()
        first = torch.autograd.grad(values.sum(), inside, create_graph=True)[0]
        second = torch.autograd.grad(first.square().sum(), images)[0]
        results.append((values, first, second))
    torch.testing.assert_close(*results)
    assert results[0][1].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [8, 7])  # of which 7 leaves a row and a column over
def test_pooling_and_its_gradient_are_torchs_to_the_bit(size, layout, dtype):
    torch.manual_seed(0)
    images = torch.randint(-3, 3, (4, 8, size, 10)).to(dtype).contiguous(memory_format=layout)
    results = []  # many values are equal: the first of them gets the gradient
    for layer in (MaxPool2d(2), nn.MaxPool2d(2)):
        leaf = images.clone().requires_grad_()
        pooled = layer(leaf)
        pooled.backward(torch.arange(pooled.numel()).reshape(pooled.shape).to(dtype))
        results.append((pooled, leaf.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_pooling_has_a_second_derivative():
    images = torch.randperm(2 * 3 * 6 * 6).double().reshape(2, 3, 6, 6).requires_grad_()
    assert torch.autograd.gradcheck(MaxPool2d(2), images)
    assert torch.autograd.gradgradcheck(lambda x: MaxPool2d(2)(x).square(), images)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("p", [0.0, 0.25, 0.5])
def test_dropout_keeps_a_share_of_1_minus_p_and_scales_it_and_its_gradient(p, dtype):
    torch.manual_seed(0)
    images = torch.ones(100, 8, 5, 5, dtype=dtype).to(memory_format=torch.channels_last)
    images.requires_grad_()
    found = Dropout(p)(images)
    found.sum().backward()
    kept = found != 0
    deviation = (p * (1 - p) / images.numel()) ** 0.5
    assert abs(kept.double().mean().item() - (1 - p)) <= 4 * deviation
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert (found[kept] == torch.tensor(1 / (1 - p), dtype=dtype)).all()
    assert torch.equal(images.grad, found)  # of ones: what is dropped learns nothing


def test_dropout_at_its_ends_and_in_evaluation_is_torchs():
    ones = torch.ones(10)
    assert torch.equal(Dropout(0.5).eval()(ones), ones)
    assert torch.equal(Dropout(1.0)(ones), torch.zeros(10))


def test_minibatch_std_of_a_group_by_hand():
    features = torch.randn(8, 3, 2, 2, dtype=torch.float64)
    found = MinibatchStd()(features)
    assert torch.equal(found[:, :3], features)
    for group in (slice(0, 4), slice(4, 8)):
        expected = features[group].std(dim=0, unbiased=False).mean()
        torch.testing.assert_close(found[group, 3], expected.expand(4, 2, 2), rtol=0, atol=1e-6)


def test_equal_images_of_a_batch_differ_by_nothing_and_have_gradients():
    features = torch.ones(4, 3, 2, 2, requires_grad=True)
    found = MinibatchStd()(features)
    torch.testing.assert_close(found[:, 3], torch.full((4, 2, 2), 1e-4))
    found.sum().backward()
    assert features.grad.isfinite().all()


def test_real_and_fake_images_are_not_compared_with_each_other():
    layer = MinibatchStd()
    real, fake = torch.randn(2, 6, 1, 4, 4).unbind()
    with joined_batches(layer, 2):
        together = layer(torch.cat([real, fake]))
    torch.testing.assert_close(together, torch.cat([layer(real), layer(fake)]))


def test_spectral_norm_makes_the_largest_singular_value_one():
    network = nn.Sequential(nn.Conv2d(2, 5, 3), nn.Flatten(), nn.Linear(20, 3))
    spectral_normalize_(network)
    with torch.no_grad():
        for _ in range(50):  # of the power method, one each time it trains
            network(torch.zeros(1, 2, 4, 4))
    for layer in (network[0], network[2]):
        norm = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
        torch.testing.assert_close(norm, torch.tensor(1.0), rtol=1e-3, atol=0)


has_onednn = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="this torch has no oneDNN"
)


def test_first_and_second_derivatives_are_those_of_a_product(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", lambda a, b, *_: a @ b.T)
    torch.manual_seed(0)
    a, b = (torch.randn(n, 4, dtype=torch.float64, requires_grad=True) for n in (3, 5))
    assert torch.equal(Product.apply(a, b), F.linear(a, b))
    assert torch.autograd.gradcheck(Product.apply, (a, b))
    assert torch.autograd.gradgradcheck(Product.apply, (a, b))


@has_onednn
def test_a_large_layer_computes_what_a_plain_one_does(monkeypatch):
    monkeypatch.setattr(fast_layers, "onednn_is_faster", lambda: True)
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
