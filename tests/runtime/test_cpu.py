"""The choice of `precision: auto`, and a CPU's memory, threads and subnormal numbers."""

import ctypes
import os
import resource
import subprocess
import sys
from copy import deepcopy
from typing import Any

import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import nn

from runtime import cpu
from runtime.cpu import (
    bf16_is_wrong,
    bf16_slowdown,
    choose_precision,
    correct_bf16,
    cpu_flags,
    flush_denormals,
)
from runtime.trainer import LadderTrainer
from tests.conftest import ROOT

M_PERTURB = -6  # malloc.h
SCRIPT = """
import resource, torch
from runtime.trainer import LadderTrainer
def page_faults():
    torch.ones(10**7)  # 40 MB, more than malloc ever keeps by itself
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(10**7)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
torch.set_num_threads(1)  # starts none
found = [page_faults()]
torch.set_num_threads(2)
LadderTrainer(accelerator="cpu", logger=False, enable_checkpointing=False, precision="32-true")
subnormal = int((torch.full((2**22,), 2e-38) / 4).count_nonzero())
print(page_faults(), *found, subnormal)
"""


@pytest.fixture(scope="module")
def found():
    """Page faults of a process with a Trainer and before it, and subnormal numbers in it."""
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()[-3:]]


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_a_trainer_uses_freed_memory_again(found):
    pages = 5 * 4 * 10**7 // resource.getpagesize()
    assert found[0] < pages / 50
    assert found[1] > found[0]


def test_a_trainer_takes_subnormal_numbers_as_zero_in_every_thread(found):
    assert found[2] == 0


def test_weights_are_the_same_to_the_bit_where_moments_vanish():
    """Adam takes 10 steps with gradients and 2,000 without, so its moments end below 1e-38."""

    def train() -> tuple[torch.Tensor, torch.Tensor]:
        random = torch.Generator().manual_seed(0)
        weight = torch.randn(1000, generator=random).requires_grad_()
        optimizer = torch.optim.Adam([weight], fused=True)
        for step in range(2010):
            weight.grad = torch.randn(1000, generator=random) if step < 10 else torch.zeros(1000)
            optimizer.step()
        return weight.detach(), optimizer.state[weight]["exp_avg"]

    plain, subnormal = train()
    flush_denormals()
    flushed, zero = train()
    torch.set_flush_denormal(False)
    smallest = torch.finfo(torch.float32).tiny
    assert ((subnormal != 0) & (subnormal.abs() < smallest)).any()
    assert (zero == 0).all()
    assert torch.equal(plain, flushed)


def test_waiting_threads_sleep_unless_the_user_decides(monkeypatch):
    for own, expected in ({}, cpu.SPINS), ({"OMP_WAIT_POLICY": "active"}, None), (
        {"GOMP_SPINCOUNT": "7"}, "7"
    ):  # fmt: skip
        for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
            monkeypatch.delenv(name, raising=False)
        for name, value in own.items():
            monkeypatch.setenv(name, value)
        cpu.limit_thread_spinning()
        assert os.environ.get("GOMP_SPINCOUNT") == expected


def test_the_settings_of_threads_come_before_torch():
    script = "import sys; from runtime import cpu; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


CPUINFO = (
    "processor : 0\nvendor_id : Some Maker\nflags\t\t: fpu avx512f {}\n"
    "processor : 1\nflags\t\t: other\n"
)


@pytest.mark.parametrize(
    ("flag", "expected"),
    [("avx512_bf16", "bf16-mixed"), ("amx_bf16", "bf16-mixed"), ("avx512vl", "32-true")],
)
def test_cpus_are_judged_by_their_flags(flag, expected, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(CPUINFO.format(flag))
    flags = cpu_flags(tmp_path / "cpuinfo")
    assert flags == {"fpu", "avx512f", flag}
    assert cpu.cpu_entry("vendor_id", tmp_path / "cpuinfo") == "Some Maker"
    monkeypatch.setattr(cpu, "cpu_flags", lambda: flags)
    for accelerator, has_gpu in (("auto", False), ("cpu", True)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda has_gpu=has_gpu: has_gpu)
        assert choose_precision(accelerator)[0] == expected


@pytest.mark.parametrize(("capability", "expected"), [((9, 0), "bf16-mixed"), ((7, 5), "32-true")])
def test_gpus_are_judged_by_compute_capability(capability, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "card")
    chosen, reason = choose_precision("auto")
    assert chosen == expected
    assert f"{capability[0]}.{capability[1]}" in reason


def test_the_trainer_uses_the_choice_and_an_explicit_one_wins(monkeypatch):
    monkeypatch.setattr(cpu, "cpu_flags", lambda: {"avx512_bf16"})
    assert LadderTrainer(accelerator="cpu", logger=False).precision == "bf16-mixed"
    explicit = LadderTrainer(accelerator="cpu", precision="32-true", logger=False)
    assert explicit.precision == "32-true"


@pytest.mark.parametrize(
    ("precision", "flags", "said"),
    [
        ("bf16-mixed", set(), True),
        ("bf16-mixed", {"avx512_bf16"}, False),
        ("32-true", set(), False),
    ],
)
def test_emulated_bf16_is_used_and_called_slow(precision, flags, said, monkeypatch, caplog):
    monkeypatch.setattr(cpu, "cpu_flags", lambda: flags)
    caplog.set_level("INFO")
    options: dict[str, Any] = {"logger": False, "barebones": True, "max_epochs": 0}
    trainer = LadderTrainer(accelerator="cpu", precision=precision, **options)
    trainer.fit(BoringModel())
    assert trainer.precision == precision
    assert ("times as long as with --trainer.precision 32-true" in caplog.text) == said


def test_the_slowdown_is_measured_and_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    assert 0.01 < bf16_slowdown() < 1000
    assert torch.equal(before, torch.get_rng_state())


def test_allowed_cores_are_those_of_the_process_or_without_linux_all(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 1000})
    assert cpu.allowed_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cpu.allowed_cores() == os.cpu_count()


def conv(kernel=3, stride=2, padding=1, inputs=16, **options):
    return nn.Conv2d(inputs, 32, kernel, stride, padding, **options)


WRONG = [  # layer, height and width of its images
    (conv(), 1, 1),  # narrow
    (conv(stride=3), 2, 2),
    (conv(stride=(1, 2)), 4, 1),
    (conv(2, 4, 0), 8, 4),  # a column
    (conv(), 8, 2),
    (conv(4, 4, 0), 16, 16),  # few channels
    (conv(8, 1, 0, 8), 16, 16),
    (conv(8, 1, 0, 16, groups=2), 16, 16),
]
RIGHT = [
    (conv(), 2, 2),
    (conv(), 1, 2),
    (conv(), 8, 3),
    (conv(1, 2, 0), 1, 1),
    (conv(2, 2, "valid"), 2, 2),
    (conv(stride=1), 8, 1),
    (conv(stride=(2, 1)), 4, 1),
    (conv(dilation=2, padding=2), 2, 2),
    (conv(4, 4, 0, 3), 16, 16),
    (conv(4, 4, 0, 32), 16, 16),
]


def test_it_is_known_which_convolutions_are_wrong_in_bf16():
    assert all(bf16_is_wrong(*case) for case in WRONG)
    assert not any(bf16_is_wrong(*case) for case in RIGHT)


def outputs_and_gradients(layer, images, half):
    images = images.clone().requires_grad_()
    layer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        outputs = layer(images)
    outputs.backward(torch.ones_like(outputs))
    return [t.float() for t in (outputs.detach(), images.grad, layer.weight.grad)]


needs_bf16 = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt") or not cpu_flags() & {"amx_bf16", "avx512_bf16"},
    reason="needs glibc and a CPU with AMX or AVX512-BF16",
)


@needs_bf16
def test_what_is_wrong_in_bf16_computes_right():
    """New memory holds 3e38, so that who reads it before it is written gets that."""
    mallopt = ctypes.CDLL(None).mallopt
    for layer, *size in WRONG + RIGHT:
        images = torch.randn(8, layer.in_channels, *size)
        expected = outputs_and_gradients(layer, images, half=False)
        correct_bf16(nn.Sequential(layer))
        mallopt(M_PERTURB, 128)
        found = outputs_and_gradients(layer, images, half=True)
        mallopt(M_PERTURB, 0)
        for here, there in zip(found, expected, strict=True):
            torch.testing.assert_close(here, there, rtol=0, atol=0.02 * float(there.abs().max()))


def test_wrong_convolutions_leave_bf16_and_others_keep_their_bits(caplog):
    caplog.set_level("INFO")
    cpu._say_float32.cache_clear()
    for (layer, *size), computes_in_float32 in ((WRONG[0], True), (RIGHT[0], False)):
        layer = nn.utils.parametrizations.weight_norm(deepcopy(layer))
        images = torch.randn(8, 16, *size)
        with torch.autocast("cpu", torch.bfloat16):
            before = layer(images)
        exact = layer(images)
        correct_bf16(layer)
        copy = deepcopy(layer)
        with torch.autocast("cpu", torch.bfloat16):
            after = [layer(images), copy(images)]
        for found in after:
            assert torch.equal(found.float(), exact if computes_in_float32 else before.float())
        copy.bias.data += 1
        with torch.autocast("cpu", torch.bfloat16):
            assert (copy(images) - layer(images)).min() > 0.9  # a copy has its own weights
        with torch.no_grad():
            half = layer.bfloat16()(images.bfloat16())
        assert half.dtype == torch.bfloat16
    assert caplog.text.count("computed in float32, because torch") == 1


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "32-true"])
def test_the_trainer_corrects_bf16_in_every_stage(precision, monkeypatch):
    seen = []
    monkeypatch.setattr("runtime.trainer.correct_bf16", seen.append)
    options: dict[str, Any] = {"enable_progress_bar": False, "fast_dev_run": 1}
    trainer = LadderTrainer(accelerator="cpu", precision=precision, **options)
    model = BoringModel()
    trainer.fit(model)
    trainer.test(model)
    trainer.predict(model, model.predict_dataloader())
    assert seen == ([] if precision == "32-true" else [model] * 3)
