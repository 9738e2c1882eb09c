"""Muon against closed forms."""

import pytest
import torch
from torch import nn

from models.muon import COEFFICIENTS, ROUNDS, MuonWithAdam, orthogonal


@pytest.mark.parametrize("shape", [(4, 8, 20), (4, 20, 8), (1, 6, 6)])
def test_orthogonal_keeps_directions_and_evens_out_lengths(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    inner = left.mT @ orthogonal(matrices) @ right.mT
    lengths = inner.diagonal(dim1=1, dim2=2)
    assert ((lengths > 0.6) & (lengths < 1.3)).all()
    assert (inner - torch.diag_embed(lengths)).abs().max() < 1e-4


def test_factors_collected_on_the_smaller_side_are_the_iterations():
    matrix = torch.randn(12, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found, (a, b, c) = matrix / matrix.norm(), COEFFICIENTS
    for _ in range(ROUNDS):
        square = found @ found.mT
        found = a * found + (b * square + c * square @ square) @ found
    torch.testing.assert_close(orthogonal(matrix[None])[0], found)


def test_first_step_follows_the_orthogonal_gradient():
    weight = nn.Parameter(torch.zeros(2, 3))
    weight.grad = torch.tensor([[5.0, 0, 0], [0, 1e-2, 0]])
    MuonWithAdam([weight], lr=0.1).step()
    expected = -0.1 * orthogonal(weight.grad[None])[0]
    torch.testing.assert_close(weight.detach(), expected)
    assert weight[1, 1].abs() > 0.03  # though its gradient is 500 times smaller than the other


def test_momentum_is_averaged_and_looks_ahead():
    """Each step adds a twentieth of the gradient to the momentum, and mixes them once more."""
    gradients = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))
    weight, momentum, expected = nn.Parameter(torch.zeros(3, 5)), 0, torch.zeros(3, 5)
    optimizer = MuonWithAdam([weight], lr=0.1)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
        momentum = 0.95 * momentum + 0.05 * gradient
        expected -= 0.1 * orthogonal((0.95 * momentum + 0.05 * gradient)[None])[0]
        torch.testing.assert_close(weight.detach(), expected)


def test_tall_matrices_step_further():
    tall, wide = nn.Parameter(torch.zeros(16, 4)), nn.Parameter(torch.zeros(4, 16))
    tall.grad = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    wide.grad = tall.grad.mT.clone()
    MuonWithAdam([tall, wide]).step()
    torch.testing.assert_close(tall.detach(), 2 * wide.detach().mT)


def test_convolution_is_a_matrix_of_its_filters():
    filters = nn.Parameter(torch.zeros(4, 2, 3, 3))
    filters.grad = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    filters.grad = filters.grad.to(memory_format=torch.channels_last)
    matrix = nn.Parameter(torch.zeros(4, 18))
    matrix.grad = filters.grad.reshape(4, 18)
    MuonWithAdam([filters, matrix]).step()
    torch.testing.assert_close(filters.detach().reshape(4, 18), matrix.detach())


@pytest.mark.parametrize("betas", [None, (0.8, 0.95)])
def test_vectors_are_stepped_by_adam(betas):
    ours, theirs = (nn.Parameter(torch.ones(5)) for _ in range(2))
    muon = MuonWithAdam([ours], vector_lr=0.01, **({"betas": betas} if betas else {}))
    adam = torch.optim.Adam([theirs], lr=0.01, betas=betas or (0.9, 0.99))
    for step in range(5):
        ours.grad = theirs.grad = torch.arange(5.0) - step
        muon.step()
        adam.step()
    torch.testing.assert_close(ours, theirs)


def test_decay_shrinks_matrices_alone():
    weight, bias = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(2))
    weight.grad, bias.grad = torch.zeros(2, 3), torch.zeros(2)
    MuonWithAdam([weight, bias], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(weight.detach(), torch.full((2, 3), 0.95))
    torch.testing.assert_close(bias.detach(), torch.ones(2))


def test_continues_from_a_checkpoint_without_decay():
    weight = nn.Parameter(torch.ones(2, 3))
    optimizer = MuonWithAdam([weight], weight_decay=0.5)
    saved = optimizer.state_dict()
    del saved["param_groups"][0]["weight_decay"]  # as earlier versions wrote it
    optimizer.load_state_dict(saved)
    weight.grad = torch.zeros(2, 3)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.ones(2, 3))


def test_continues_to_the_bit():
    def steps(network, optimizer, count):
        for _ in range(count):
            optimizer.zero_grad()
            network(torch.eye(4)).square().sum().backward()
            optimizer.step()

    torch.manual_seed(0)
    whole = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    parts = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    parts.load_state_dict(whole.state_dict())
    optimizer = MuonWithAdam(whole.parameters())
    steps(whole, optimizer, 4)
    first = MuonWithAdam(parts.parameters())
    steps(parts, first, 2)
    second = MuonWithAdam(parts.parameters())
    second.load_state_dict(first.state_dict())
    steps(parts, second, 2)
    assert all(map(torch.equal, whole.parameters(), parts.parameters()))


def test_learns_what_unequal_directions_hide():
    """Of a badly scaled regression, gradient descent with momentum finds the large part alone."""
    scales = torch.logspace(0, -2, 8)
    inputs = torch.randn(256, 8, generator=torch.Generator().manual_seed(0)) * scales
    target = torch.randn(8, 8, generator=torch.Generator().manual_seed(1))

    def error(make):
        weight = nn.Parameter(torch.zeros(8, 8))
        optimizer = make([weight])
        for _ in range(300):
            optimizer.zero_grad()
            (inputs @ (weight - target)).square().mean().backward()
            optimizer.step()
        return (weight - target).detach().abs().mean()

    momentum = error(lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.95))
    assert error(MuonWithAdam) < momentum / 2


@pytest.mark.parametrize("name", ["lr", "vector_lr", "weight_decay"])
def test_refuses_a_negative_rate(name):
    with pytest.raises(ValueError, match=f"Invalid {name}: -1"):
        MuonWithAdam([nn.Parameter(torch.zeros(2, 2))], **{name: -1})
