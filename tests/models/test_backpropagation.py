"""Backpropagation finds the gradient, and one SGD step is -eta times it."""

import torch
from torch import Tensor
from torch.testing import assert_close

from datamodules import Iris
from models import IrisMLP
from models.classifier import cross_entropy
from tests.models.classifiers import fit, iris

ETA = 0.5


def weights(model: IrisMLP) -> Tensor:
    return torch.nn.utils.parameters_to_vector(model.network.parameters()).detach().clone()


def finite_difference_gradient(model: IrisMLP, inputs: Tensor, targets: Tensor) -> Tensor:
    """Central differences in float64; their error is of the order of step ** 2."""
    start, step = weights(model), 1e-5
    gradient = torch.zeros_like(start)
    parameters = list(model.network.parameters())

    def loss(vector: Tensor) -> Tensor:
        torch.nn.utils.vector_to_parameters(vector, parameters)
        return cross_entropy(model.network(inputs), targets)

    with torch.no_grad():
        for i in range(len(start)):
            shift = torch.zeros_like(start)
            shift[i] = step
            gradient[i] = (loss(start + shift) - loss(start - shift)) / (2 * step)
        loss(start)
    return gradient


def test_a_trained_step_is_minus_eta_times_the_slope_of_the_loss() -> None:
    torch.manual_seed(0)
    data = Iris(batch_size=120)
    model = iris((5, 4), "tanh", optimizer=lambda p: torch.optim.SGD(p, lr=ETA)).double()
    data.setup()
    inputs, targets = data.splits.train
    gradient = finite_difference_gradient(model, inputs.double(), targets)
    before = weights(model)
    fit(model, data, max_steps=1, precision="64-true")
    assert gradient.abs().max() > 0.01
    assert_close(weights(model) - before, -ETA * gradient, rtol=1e-6, atol=1e-9)


def test_the_chain_rule_by_hand_is_what_backward_computes() -> None:
    torch.manual_seed(0)
    model = iris((6,)).double()
    inputs, targets = torch.randn(7, 4, dtype=torch.float64), torch.randint(3, (7,))
    model.step((inputs, targets))["loss"].backward()
    first, last = model.network[1], model.network[3]
    with torch.no_grad():
        hidden = torch.sigmoid(inputs @ first.weight.T + first.bias)  # (B, 6)
        probabilities = torch.softmax(hidden @ last.weight.T + last.bias, dim=1)
        d_logits = (probabilities - torch.eye(3, dtype=torch.float64)[targets]) / 7
        d_hidden = d_logits @ last.weight * hidden * (1 - hidden)
    assert_close(last.weight.grad, d_logits.T @ hidden)
    assert_close(last.bias.grad, d_logits.sum(dim=0))
    assert_close(first.weight.grad, d_hidden.T @ inputs)
    assert_close(first.bias.grad, d_hidden.sum(dim=0))
