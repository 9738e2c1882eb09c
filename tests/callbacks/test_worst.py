"""The picture of the worst images shows the images that were scored."""

import torch

from callbacks.worst import images_at
from models import GAN, ConditionalGAN
from models.generative import Draws, sample
from tests.models.gans import small


def test_images_are_drawn_again_by_their_numbers() -> None:
    places, asked = torch.tensor([7, 503, 2]), torch.arange(600) // 60
    for kind in (GAN, ConditionalGAN):
        model = small(kind)
        draws = Draws(model, 510, model.seed, asked)
        scored = [(sample(model, *draw[:2]), draw.labels) for draw in draws]
        images, labels = images_at(model, places, asked)
        assert torch.allclose(images, torch.cat([part for part, _ in scored])[places], atol=1e-6)
        if kind is GAN:
            assert labels is None
        else:
            assert labels is not None
            assert labels.tolist() == [0, 8, 0]
