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


def test_a_trained_step_is_minus_eta_times_the_slope_of_the_loss():
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
