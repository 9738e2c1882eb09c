"""The choice of `precision: auto`."""

from pathlib import Path

import pytest
import torch
from runtime.precision import choose_precision, cpu_flags, cpu_vendor

from runtime import precision
from runtime.trainer import LadderTrainer

CPUINFO = (
    "processor : 0\nvendor_id : Some Maker\nflags\t\t: fpu avx512f {}\n"
    "processor : 1\nflags\t\t: other\n"
)


@pytest.mark.parametrize(
    ("flag", "expected"),
    [("avx512_bf16", "bf16-mixed"), ("amx_bf16", "bf16-mixed"), ("avx512vl", "32-true")],
)
def test_cpus_are_judged_by_their_flags(
    flag: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(CPUINFO.format(flag))
    flags = cpu_flags(tmp_path / "cpuinfo")
    assert flags == {"fpu", "avx512f", flag}
    assert cpu_vendor(tmp_path / "cpuinfo") == "Some Maker"
    monkeypatch.setattr(precision, "cpu_flags", lambda: flags)
    assert choose_precision("cpu")[0] == expected


def test_without_cpuinfo_it_is_fp32(tmp_path: Path) -> None:
    assert cpu_flags(tmp_path / "nothing") == set()
    assert cpu_vendor(tmp_path / "nothing") == ""


@pytest.mark.parametrize(("capability", "expected"), [((9, 0), "bf16-mixed"), ((7, 5), "32-true")])
def test_gpus_are_judged_by_compute_capability(
    capability: tuple[int, int], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "card")
    chosen, reason = choose_precision("auto")
    assert chosen == expected
    assert f"{capability[0]}.{capability[1]}" in reason


def test_the_trainer_uses_the_choice_and_an_explicit_one_wins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(precision, "cpu_flags", lambda: {"avx512_bf16"})
    assert LadderTrainer(accelerator="cpu", logger=False).precision == "bf16-mixed"
    explicit = LadderTrainer(accelerator="cpu", precision="32-true", logger=False)
    assert explicit.precision == "32-true"
