"""The documentation and the configs show the published results, and nobody types them."""

import re

import pandas as pd
import pytest

from benchmarks import measured
from benchmarks.measured import texts, written
from benchmarks.reproduce import PARTS, hash_of_arguments
from runtime.errors import UserError
from tests.conftest import ROOT

FORMS = (
    "<!-- scores: real digits = cgan, cgan | part, frechet range, recall, seeds, time -->\nold\n"
    "<!-- end -->",
    '[old](../docs/measured.md "cgan frechet std")',
    "# Measured (cgan): old",
)


def test_all_texts_show_the_published_results():
    found = {path: path.read_text() for path in texts()}
    wrong = [path.relative_to(ROOT) for path, text in found.items() if written(text) != text]
    assert not wrong, "run `python -m benchmarks.measured`"


@pytest.mark.parametrize(
    "pattern",
    [
        r"\| `cgan` \| 0\.0(\d)",
        r"step of iris, batch 1 \| 0\.(\d)",
        r"\| `tricks-ema` .* (\d)\.",
    ],
)
def test_one_other_digit_is_seen(pattern):
    text = (ROOT / "docs/measured.md").read_text()
    (place,) = [match.start(1) for match in re.finditer(pattern, text)][:1]
    changed = text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :]
    assert changed != text
    assert written(changed) == text


@pytest.fixture
def two_runs(tmp_path, monkeypatch):
    """Frechet distances of 1 and 3 of the newest runs of both seeds."""
    rows = [[0, 9.0], [0, 1.0], [1, 3.0]]
    runs = pd.DataFrame(rows, columns=["seed", "frechet"]).assign(
        part="cgan", split="test", status="done", recall=0.5, precision=0.25, accuracy=None,
        real_frechet=0.1, real_recall=0.8, real_precision=0.9, cpu_seconds_process=120,
        cpu="AMD EPYC, family 25, model 17", date="2026-11-28",
    )  # fmt: skip
    runs.to_csv(tmp_path / "quality.csv")
    monkeypatch.setattr(measured, "PUBLISHED", tmp_path / "quality.csv")
    for cached in (measured.runs_of, measured.score, measured.fact):
        cached.cache_clear()
    yield
    for cached in (measured.runs_of, measured.score, measured.fact):
        cached.cache_clear()


def test_every_form_is_written(two_runs):
    table, number, header = map(written, FORMS)
    assert table.splitlines()[2:-2] == [
        "| part | Frechet distance | recall | seeds | time |",
        "|---|---|---|---|---|",
        "| real digits | 0.100 | 0.800 |  |  |",
        "| `cgan` | 2.00 (1.00 to 3.00) | 0.500 | 2 | 2 min |",
    ]
    assert number == '[2.00 +- 1.41](../docs/measured.md "cgan frechet std")'
    assert header.startswith(
        "# Measured (cgan): Frechet distance 2.00 (real 0.100), precision 0.250"
    )
    assert header.endswith("seeds: 2, 2 min on one core, EPYC 25-17")
    assert written(table) == table


@pytest.mark.parametrize("part", ["cgann", "gan"])
def test_a_part_without_runs_is_named(part, two_runs):
    with pytest.raises(UserError, match=part):
        written(f'[0.1](measured.md "{part} frechet")')


def test_no_header_of_a_published_config_has_typed_scores():
    published = set(pd.read_csv(measured.PUBLISHED)["part"])
    configs = {part.config for name, part in PARTS.items() if name in published}
    typed = re.compile(
        r"^# (?!Measured).*((distance|recall|accuracy|precision) \d|\d\.\d+ %)", re.M
    )
    found = {config for config in configs if typed.search((ROOT / config).read_text())}
    assert not found, "leave them to `# Measured (PART):`"


def test_a_published_part_has_all_its_seeds():
    for name in {*pd.read_csv(measured.PUBLISHED)["part"]} & {*PARTS}:
        assert {*measured.runs_of(name)["seed"]} == {*PARTS[name].seeds}, name


def test_published_configs_are_those_that_were_measured():
    published = {*pd.read_csv(measured.PUBLISHED)["part"]} & {*PARTS}
    today = {config: hash_of_arguments(config) for config in {PARTS[p].config for p in published}}
    wrong = {
        PARTS[part].config: today[PARTS[part].config]
        for part in published
        if {*measured.runs_of(part)["arguments"]} != {today[PARTS[part].config]}
    }
    assert not wrong, "measure these again. If names alone have changed, write these hashes"


def test_the_hash_of_a_config_is_of_what_decides_its_results(tmp_path):
    """The folder of its data does not, nor a default that it repeats."""
    text = (ROOT / "configs/mnist_cnn.yaml").read_text()
    changes = (
        ("batch_size: 128", "batch_size: 128, data_dir: x, split_seed: 0"),
        ("lr: 0.004", "lr: 0.04"),
        ("batch_size: 128", "batch_size: 128, split_seed: 1"),
        ("max_epochs: 11", "max_epochs: 12"),
    )
    found = []
    for number, (old, new) in enumerate(changes):
        assert old in text
        (tmp_path / f"{number}.yaml").write_text(text.replace(old, new))
        found.append(hash_of_arguments(str(tmp_path / f"{number}.yaml")))
    assert found[0] == hash_of_arguments("configs/mnist_cnn.yaml")
    assert len({*found}) == 4
