"""`make bench-gpu` without a GPU: the command itself, and what its cells say."""

import pytest

from benchmarks.gpu import Bench, main


def test_a_cell_says_what_went_wrong(tmp_path):
    bench = Bench(cpu=False, folder=tmp_path)
    assert bench.run("-c", "print('x')", seconds=60) == ("x\n", "")
    assert bench.run("-c", "print('error: bad'); exit(2)", seconds=60)[1] == "error: bad"
    assert bench.run("-c", "import time; time.sleep(60)", seconds=5)[1] == "cut after 5 s"
    bench.end = 0.0
    assert bench.run("-c", "", seconds=60) == ("", "not run: time is up")


def test_a_try_on_a_busy_cpu_is_not_cut_like_a_measurement(tmp_path):
    assert Bench(cpu=True, folder=tmp_path).run("-c", "print('x')", seconds=1) == ("x\n", "")


@pytest.mark.slow
def test_the_command_fills_its_tables_on_a_cpu(tmp_path):
    table = main(["--cpu", "--out", str(tmp_path)]).read_text()
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| ")]
    cells = [cell.strip() for row in rows for cell in row[1:] if "---" not in cell]
    assert any(cell.startswith("frechet ") for cell in cells), table
    speeds = [cell for cell in cells if cell.replace(",", "").isdecimal()]
    assert len(speeds) >= 5, table
