"""Arguments outside the ranges that their types declare are refused with their dotted names."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import pytest

from datamodules import Functions, Gates, Images
from models import GAN, ConditionalGAN, ImageClassifier, IrisMLP
from models.averaging import Averaging
from models.gan.heads import ProjectionHead
from models.gan.penalties import Penalties
from models.networks import FeedForward
from runtime.errors import UserError
from runtime.ranges import NonNegative, Positive, Range, Share, check_ranges, ranges_of

SHAPE = (1, 28, 28)


class Base:
    def __init__(self, width: Positive = 1, share: Share = 0.0) -> None: ...


class Derived(Base):
    def __init__(self, sizes: Sequence[NonNegative] | None = None, **base: Any) -> None: ...


@pytest.mark.parametrize(
    ("allowed", "inside", "outside", "text"),
    [
        (Range(1), (1, 2, 1e9), (0, -1, float("nan")), "1 or more"),
        (Range(0, above=True), (1e-9, 5), (0, -1), "more than 0"),
        (Range(0, 1), (0, 0.5, 1), (-0.1, 1.1), "0 or more, but not more than 1"),
        (Range(0, 1, below=True), (0, 0.999), (1, float("inf")), "0 or more, but less than 1"),
    ],
)
def test_a_range(
    allowed: Range, inside: Sequence[float], outside: Sequence[float], text: str
) -> None:
    assert all(value in allowed for value in inside)
    assert not any(value in allowed for value in outside)
    assert repr(allowed) == text


def test_ranges_come_from_the_class_and_its_bases() -> None:
    assert ranges_of(Derived).keys() == {"sizes", "width", "share"}
    check_ranges(Derived, {"sizes": [0, 1], "width": 3, "other": -1}, "model.")
    check_ranges(Derived, {"sizes": None}, "model.")
    with pytest.raises(UserError, match=r"^model\.sizes is -2: set it to 0 or more"):
        check_ranges(Derived, {"sizes": [1, -2]}, "model.")


def test_a_value_that_names_a_class_is_checked_too() -> None:
    value = {"class_path": f"{__name__}.Base", "init_args": {"width": 0}}
    with pytest.raises(UserError, match=r"^model\.network\.width is 0: set it to 1"):
        check_ranges(Derived, {"network": value}, "model.")


def test_a_function_declares_ranges_as_well() -> None:
    def draw(count: Annotated[int, Range(1, 9)] = 1) -> None: ...

    with pytest.raises(UserError, match="--count is 10: set it to 1 or more"):
        check_ranges(draw, {"count": 10}, "--")


WRONG = {
    "model.latent_dim is 0": lambda: GAN(SHAPE, latent_dim=0),
    "model.average.decay is 1": lambda: GAN(SHAPE, average=Averaging(1)),
    "model.penalties.r1 is -1": lambda: GAN(SHAPE, penalties=Penalties(r1=-1)),
    "model.gradient_clip_val is 0": lambda: GAN(SHAPE, gradient_clip_val=0),
    "model.pretrain_epochs is -1": lambda: ConditionalGAN(SHAPE, 10, pretrain_epochs=-1),
    "model.head.class_weight is -1": lambda: ConditionalGAN(
        SHAPE, 10, head=partial(ProjectionHead, class_weight=-1)
    ),
    "model.zoom is 5": lambda: ImageClassifier(SHAPE, 10, zoom=5),
    "model.shift is -1": lambda: ImageClassifier(SHAPE, 10, shift=-1),
    "model.label_smoothing is 5": lambda: IrisMLP(label_smoothing=5),
    "model.variation is -1": lambda: IrisMLP(variation=-1),
    "model.network.hidden is -3": lambda: IrisMLP(network=partial(FeedForward, hidden=-3)),
    "data.batch_size is 0": lambda: Images(batch_size=0),
    "data.split_seed is -1": lambda: Images(split_seed=-1),
    "data.noise is -1": lambda: Gates(noise=-1),
    "data.num_train is 2000000000000": lambda: Functions(num_train=2 * 10**12),
}


@pytest.mark.parametrize("message", WRONG)
def test_models_and_data_refuse_senseless_values(message: str) -> None:
    with pytest.raises(UserError, match=message):
        WRONG[message]()
