"""The heads: their losses in closed form, and what each refuses."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models import GAN
from models.gan.conditional_discriminators import (
    ACGANDiscriminator,
    ClassProjection,
    ProjectionDiscriminator,
    nearness_within_classes,
)
from models.gan.discriminator import Discriminator, PlainDiscriminator
from models.gan.lecture import NormalizedSigmoidDiscriminator, SoftmaxDiscriminator
from models.gan.losses import NonSaturating, Relativistic
from runtime.errors import UserError
from tests.models.gans import small

CONDITIONAL = [
    SoftmaxDiscriminator,
    NormalizedSigmoidDiscriminator,
    ACGANDiscriminator,
    ProjectionDiscriminator,
]
NEAR = partial(ProjectionDiscriminator, nearness=4)
IMAGES = torch.zeros(2, 1, 1, 1)
REAL = IMAGES, None  # for losses of pairs alone


def says(
    discriminator: Callable[..., Discriminator], outputs: Any, num_classes: int | None = 10
) -> Any:
    """A head whose forward pass returns `outputs`, row by row."""
    made: Any = discriminator(nn.Flatten(), 1, num_classes)
    if isinstance(outputs, tuple):  # realness, and classes if the head has them
        padded = (*outputs, None)[:2]
        made.forward = lambda images, _: tuple(o if o is None else o[: len(images)] for o in padded)
    else:
        made.forward = lambda images: outputs[: len(images)]
    return made


def test_a_plain_head_compares_real_with_fake():
    logits = torch.tensor([2.0, -0.5, -1.0, -3.0])
    discriminator = says(PlainDiscriminator, (logits,), num_classes=None)
    loss, stats = discriminator.discriminator_loss((IMAGES, None), (IMAGES, None))
    target = torch.tensor([1.0, 1.0, 0.0, 0.0])
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(logits, target))
    assert (stats["acc_real"], stats["acc_fake"]) == (0.5, 1.0)


def test_a_loss_of_pairs_gets_the_realness_of_both():
    discriminator = says(
        partial(PlainDiscriminator, loss=Relativistic), (torch.tensor([1.0, -2.0]),), None
    )
    fake, real = torch.tensor([1.0, -2.0]), torch.tensor([1.0, -2.0])
    loss, _ = discriminator.generator_loss((IMAGES, None), (IMAGES, None))
    torch.testing.assert_close(loss, F.softplus(real - fake).mean())


def test_k_plus_one_targets_are_zero_for_fakes_and_the_class_plus_one_for_reals():
    logits = torch.randn(4, 11)
    labels, fake_labels = torch.tensor([3, 9]), torch.tensor([5, 0])
    target = torch.tensor([4, 10, 0, 0])
    log_sum = torch.logsumexp(F.logsigmoid(logits), dim=1)
    sigmoid = (log_sum - F.logsigmoid(logits)[range(4), target]).mean()
    for discriminator, expected in (
        (SoftmaxDiscriminator, F.cross_entropy(logits, target)),
        (NormalizedSigmoidDiscriminator, sigmoid),
    ):
        loss, _ = says(discriminator, logits).discriminator_loss(
            (IMAGES, labels), (IMAGES, fake_labels)
        )
        torch.testing.assert_close(loss, expected)
    # the generator's loss is lowest if its fakes pass for the requested classes
    loss, _ = says(SoftmaxDiscriminator, logits).generator_loss((IMAGES, fake_labels), REAL)
    torch.testing.assert_close(loss, F.cross_entropy(logits[:2], torch.tensor([6, 1])))


def test_the_generators_accuracy_is_the_share_of_fakes_that_pass():
    """Keras prints it for the combined model: its target is "real", or the requested class."""
    logits, labels = torch.tensor([2.0, -1.0]), torch.tensor([1, 0])
    _, plain = says(PlainDiscriminator, (logits,), num_classes=None).generator_loss(
        (IMAGES, None), REAL
    )
    classes = torch.tensor([[0.0, 0.0, 9.0], [9.0, 0.0, 0.0]])  # class 1, and "fake"
    _, softmax = says(SoftmaxDiscriminator, classes, num_classes=2).generator_loss(
        (IMAGES, labels), REAL
    )
    _, auxiliary = says(ACGANDiscriminator, (logits, classes)).generator_loss(
        (IMAGES, labels), REAL
    )
    for stats in (plain, softmax, auxiliary):
        assert stats == {"acc_generator": torch.tensor(0.5)}


def test_held_out_accuracy_is_the_share_of_real_images_seen_as_their_class():
    outputs = torch.tensor([[0.0, 0.0, 9.0], [0.0, 0.0, 9.0], [9.0, 0.0, 0.0]])  # 1, 1, "fake"
    discriminator = says(SoftmaxDiscriminator, outputs, num_classes=2)
    _, accuracy = discriminator.evaluate_real(torch.zeros(3, 1, 1, 1), torch.tensor([1, 0, 0]))
    torch.testing.assert_close(accuracy, torch.tensor(1 / 3))


@pytest.mark.parametrize("discriminator", [SoftmaxDiscriminator, NormalizedSigmoidDiscriminator])
def test_realness_is_the_odds_against_fake(discriminator):
    logits = torch.randn(5, 11)
    softmax, sigmoid = logits.softmax(1), F.normalize(logits.sigmoid(), 1, 1)
    expected = 1 - (softmax if discriminator is SoftmaxDiscriminator else sigmoid)[:, 0]
    found = says(discriminator, logits).compute_realness(torch.zeros(5, 1, 1, 1), None).sigmoid()
    torch.testing.assert_close(found, expected)


def test_auxiliary_loss_adds_the_class_of_real_images_to_realness():
    realness, classes = torch.randn(4), torch.randn(4, 10)
    discriminator = says(partial(ACGANDiscriminator, class_weight=0.5), (realness, classes))
    labels = torch.tensor([1, 2])
    loss, stats = discriminator.discriminator_loss((IMAGES, labels), (IMAGES, labels))
    target = torch.tensor([1.0, 1.0, 0.0, 0.0])
    expected = F.binary_cross_entropy_with_logits(realness, target)
    expected = expected + 0.5 * F.cross_entropy(classes[:2], labels)
    torch.testing.assert_close(loss, expected)
    assert stats["acc_real"] == (realness[:2] > 0).float().mean()
    # for the generator: that fakes are real, and show their class
    loss, _ = discriminator.generator_loss((IMAGES, labels), REAL)
    expected = F.binary_cross_entropy_with_logits(realness[:2], torch.ones(2))
    torch.testing.assert_close(loss, expected + 0.5 * F.cross_entropy(classes[:2], labels))
    loss, accuracy = discriminator.evaluate_real(IMAGES, labels)
    torch.testing.assert_close(loss, expected + 0.5 * F.cross_entropy(classes[:2], labels))
    hits = (realness[:2] > 0) & (classes[:2].argmax(dim=1) == labels)
    assert accuracy == hits.float().mean()


def test_projection_judges_realness_by_the_class_asked_for():
    torch.manual_seed(0)
    discriminator = ProjectionDiscriminator(nn.Flatten(), 9, num_classes=3)
    image = torch.rand(1, 1, 3, 3).expand(3, -1, -1, -1)
    labels = torch.arange(3)
    realness, classes = discriminator(image, labels)
    torch.testing.assert_close(realness, realness[:1].expand(3))  # embeddings start at zero
    with torch.no_grad():
        discriminator.embedding.weight[1] = 1.0
    changed, same_classes = discriminator(image, labels)
    total = image[0].sum().item()
    torch.testing.assert_close(changed - realness, torch.tensor([0.0, total, 0.0]))
    torch.testing.assert_close(classes, same_classes)


def test_a_projection_is_exact_in_mixed_precision():
    """So that it distinguishes images whose other logits are the same number in bf16."""
    torch.manual_seed(0)
    projection = ClassProjection(64, 3)
    nn.init.normal_(projection.weight)
    features, labels = torch.randn(20, 64), torch.arange(20) % 3
    with torch.autocast("cpu", torch.bfloat16):
        products = projection(features, labels)
    torch.testing.assert_close(products, (projection.weight[labels] * features).sum(dim=1))


def test_nearness_is_the_mean_over_the_others_of_a_class():
    measures = torch.tensor([[0.0, 5.0], [1.0, 5.0], [3.0, 4.0], [9.0, 9.0]])
    labels = torch.tensor([2, 2, 2, 0])
    e = [math.exp(-distance) for distance in range(4)]
    expected = torch.tensor(
        [
            [(e[1] + e[3]) / 2, (e[0] + e[1]) / 2],
            [(e[1] + e[2]) / 2, (e[0] + e[1]) / 2],
            [(e[3] + e[2]) / 2, e[1]],
            [0.0, 0.0],  # alone in its class
        ]
    )
    torch.testing.assert_close(nearness_within_classes(measures, labels), expected)
    # real images are not compared with generated ones
    both = nearness_within_classes(torch.cat([measures, measures + 7]), labels.repeat(2), joined=2)
    torch.testing.assert_close(both, expected.repeat(2, 1))


def test_real_and_generated_images_are_not_compared_with_each_other():
    torch.manual_seed(0)
    discriminator = NEAR(nn.Flatten(), 9, num_classes=2, class_weight=0.0)
    nn.init.normal_(discriminator.nearness.weight)
    labels = torch.tensor([0, 0, 1, 1])
    real, fake = ((torch.rand(4, 1, 3, 3), labels) for _ in range(2))
    expected = discriminator.loss.discriminator(discriminator(*real)[0], discriminator(*fake)[0])
    torch.testing.assert_close(discriminator.discriminator_loss(real, fake)[0], expected)


@pytest.mark.parametrize("discriminator", CONDITIONAL)
def test_a_head_with_classes_is_refused_by_a_gan_without(discriminator):
    with pytest.raises(UserError, match=f"{discriminator.__name__} is for .*Conditional"):
        small(GAN, discriminator=discriminator)


def test_a_loss_says_which_logits_mean_real():
    class FromOneHalf(NonSaturating):
        threshold = 0.5

    discriminator = PlainDiscriminator(nn.Flatten(), 1, None, loss=FromOneHalf)
    discriminator.realness = nn.Identity()
    images = torch.tensor([0.4, 0.6, 1.2]).view(3, 1, 1, 1)
    assert (discriminator.compute_realness(images, None) > 0).tolist() == [False, True, True]
    assert discriminator.evaluate_real(images, torch.zeros(3))[1] == pytest.approx(2 / 3)
    _, stats = discriminator.generator_loss((images, None), REAL)
    assert stats["acc_generator"] == pytest.approx(2 / 3)
