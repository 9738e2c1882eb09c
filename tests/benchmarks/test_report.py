"""Tables and the names of their files."""

from pathlib import Path

import pytest

from benchmarks.report import Section, commit, conditions, cpu_name, file_name
from tests.conftest import ROOT


def test_a_section_is_a_title_a_table_and_notes() -> None:
    section = Section("Speed", ["who", "s"], [("a", "1"), ("b", "2")], ["Read it so."])
    assert section.markdown().splitlines() == [
        "## Speed",
        "",
        "| who | s |",
        "| --- | ---: |",
        "| a | 1 |",
        "| b | 2 |",
        "",
        "Read it so.",
    ]
    assert Section("GPU", notes=["Not run."]).markdown() == "## GPU\n\nNot run."


def test_the_file_is_named_by_date_hardware_and_what_was_run() -> None:
    name = file_name("Intel(R) Xeon(R) Processor @ 2.6GHz", 2, ["gpu"])
    assert name[4] == name[7] == "-"
    assert name[10:] == "-intel-xeon-processor-2-6ghz-2-cores-gpu.md"


def test_the_processor_is_named(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("vendor_id\t: X\nmodel name\t: A CPU\n\nmodel name\t: A CPU\n")
    assert cpu_name(file) == "A CPU"
    file.write_text("cpu family\t: 26\nmodel\t\t: 2\nmodel name\t: A CPU\n")
    assert cpu_name(file) == "A CPU, family 26, model 2"
    assert cpu_name(tmp_path / "missing")


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_a_report_names_its_commit() -> None:
    assert commit().removesuffix("+").isalnum()
    assert f"- **Commit** {commit()}" in conditions({}, "fp32")
