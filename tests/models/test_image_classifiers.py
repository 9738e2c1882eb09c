"""The classifiers of images."""

import pytest
import torch

from models import ImageClassifier
from runtime.errors import UserError
from tests.models.classifiers import convnet, dense


def test_augmentation_arguments_reach_the_training_images():
    images, targets = torch.rand(8, 1, 28, 28), torch.zeros(8, dtype=torch.long)
    assert torch.equal(dense().augment(images, targets), images)
    assert not torch.equal(dense(shift=2.0).augment(images, targets), images)
    erased = dense(erase=8).augment(images, targets)
    assert 16 <= (erased == 0).sum(dim=(1, 2, 3)).min() <= 64


@pytest.mark.parametrize(("mirrors", "flips"), [(True, True), (False, False)])
def test_flip_auto_follows_the_data(mirrors, flips):
    assert convnet(flip="auto", mirrors=mirrors).augmentation.flip is flips
    assert convnet(flip=True, mirrors=False).augmentation.flip


def test_inputs_that_are_no_images_are_refused():
    with pytest.raises(UserError, match=r"the data have shape \(4,\)"):
        ImageClassifier((4,), 3)


def test_flip_in_evaluation_makes_the_logits_those_of_the_mirror_image():
    images = torch.rand(4, 1, 28, 28)
    for flip in (True, False):  # nothing is averaged where nothing was mirrored in training
        model = convnet(flip=flip, flip_in_evaluation=True).eval()
        same = torch.allclose(model(images), model(images.flip(3)), atol=1e-6)
        assert same is flip


def test_shift_in_evaluation_averages_the_logits_of_nine_moved_images():
    model = convnet(shift_in_evaluation=1).eval()
    images = torch.rand(2, 1, 28, 28)
    wide = torch.zeros(2, 1, 30, 30)
    wide[:, :, 1:29, 1:29] = images
    moved = [wide[:, :, y : y + 28, x : x + 28] for y in range(3) for x in range(3)]
    expected = torch.stack([model.network(view) for view in moved]).mean(dim=0)
    torch.testing.assert_close(model(images), expected)
    assert not torch.allclose(model(images), model.network(images))
    model.train()
    torch.manual_seed(0)
    once = model(images)
    torch.manual_seed(0)
    torch.testing.assert_close(once, model.network(images))
