"""Covering what a network does not look at changes nothing."""

import pytest
import torch
from torch import Tensor, nn

from models.inspection import occlusion_map


class Corner(nn.Module):
    """Class 0 for what is in the upper right corner, 2 x 3 pixels."""

    def forward(self, images: Tensor) -> Tensor:
        assert not self.training
        score = images[:, 0, :2, -3:].sum(dim=(1, 2))
        return torch.stack([score, torch.zeros_like(score)], dim=1)


@pytest.mark.parametrize("batch_size", [7, 512])
def test_only_the_corner_matters_to_one_who_looks_there(batch_size: int) -> None:
    images = torch.rand(3, 1, 8, 9, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 1, 0])
    network = Corner()
    maps = occlusion_map(network, images, targets, 3, 2, fill=0.25, batch_size=batch_size)
    assert maps.shape == (3, 3, 4)
    assert network.training
    whole = network.eval()(images).softmax(dim=1)[torch.arange(3), targets]
    expected = whole[:, None, None].repeat(1, 3, 4)
    for column in (2, 3):  # squares over columns 4-6 and 6-8; the network sees 6-8
        covered = images.clone()
        covered[:, :, :3, 2 * column : 2 * column + 3] = 0.25
        expected[:, 0, column] = network(covered).softmax(dim=1)[torch.arange(3), targets]
    torch.testing.assert_close(maps, expected)
    assert not torch.isclose(expected[:, 0, 3], whole).any()


def test_probabilities_are_what_the_model_says_they_are() -> None:
    images = torch.ones(1, 1, 4, 4)
    maps = occlusion_map(
        Corner(), images, torch.tensor([0]), 2, 2, fill=0.0, probabilities=lambda logits: logits
    )
    assert maps.tolist() == [[[4.0, 2.0], [6.0, 6.0]]]
