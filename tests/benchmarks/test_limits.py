"""The multiplications of a step, each with its shape and its work."""

from typing import Any

import torch
from torch import nn

from benchmarks import limits
from benchmarks.limits import Like, Recorder, multiplications, replay


def test_every_product_is_recorded_with_its_work() -> None:
    layer = nn.Conv2d(3, 5, 3)
    images = torch.rand(2, 3, 8, 8).to(memory_format=torch.channels_last)
    with Recorder() as recorder:
        layer(images).sum().backward()
        images.flatten(1) @ torch.rand(192, 7)
    flops: dict[str, int] = {}
    for key, count in recorder.seen.items():
        action, work = replay(key)
        action()
        flops[key[0].overloadpacket.__name__] = count * work
    forward = 2 * (2 * 5 * 6 * 6) * 3 * 9
    assert flops == {
        "convolution": forward,
        "convolution_backward": forward,  # the weights' gradient alone, the images need none
        "mm": 2 * 2 * 192 * 7,
    }


def test_a_copy_has_the_layout_of_what_it_stands_for() -> None:
    original = torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)
    like = limits.freeze([original, None, 2])
    assert like == (Like((2, 3, 4, 4), original.stride(), torch.float32), None, 2)
    assert like[0].make().stride() == original.stride()
    assert like[0].make().dtype == torch.float32


def test_reusing_fakes_saves_one_generator_forward() -> None:
    def forward_layers(seen: Any) -> int:
        return sum(n for (func, _), n in seen.items() if "addmm" in str(func))

    counts = [
        forward_layers(multiplications("gan", reuse, torch.float32, batch=2))
        for reuse in (False, True)
    ]
    assert counts == [2 + 2 + 2 + 2, 2 + 2 + 2]  # two dense layers in each network
