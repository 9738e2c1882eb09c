"""Lightning's messages in the words of this project's options."""

import pytest

from commands.lightning_messages import reworded


@pytest.mark.parametrize(
    ("message", "device"),
    [
        ("No supported gpu backend found!", "GPU"),
        ("`CUDAAccelerator` can not run on your system since", "GPU"),
        ("`MPSAccelerator` can not run on your system since", "MPS"),
    ],
)
def test_a_missing_device_is_named_with_the_remedy(message: str, device: str) -> None:
    line = reworded(f"trainer: {message}")
    assert line.startswith("trainer.accelerator: this machine has no ")
    assert device in line
    assert ("configs/trainer/ddp_cpu.yaml" in line) is (device == "GPU")
