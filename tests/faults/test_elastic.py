"""A run stopped anywhere goes on with another number of processes, as if it had not been stopped.

Networks without batch norm, which acts on a process's own share. Dropout, augmentation and noise
are drawn for the whole batch.
"""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runtime.preemption import TRY_AGAIN
from tests.faults.elastic import BATCHES, EPOCHS, FALLING, KINDS, STEPS, WAYS, Part, Run, numbers
from tests.faults.ledger import Ledger, Row, rounds
from tests.test_world_size import ROUNDING

pytestmark = pytest.mark.ddp
ROUNDS = rounds(full=20, short=3)


@dataclass
class Schedule:
    """A kind of network, and the parts of its run."""

    kind: str
    parts: list[Part]

    @classmethod
    def draw(cls, seed: int) -> "Schedule":
        """Draws two to four stops, one of them at the end of an epoch in every third schedule."""
        chance = random.Random(seed)
        stops = chance.sample(range(1, STEPS - 1), chance.randint(2, 4))
        if seed % 3 == 2:
            stops[0] = BATCHES * chance.randint(1, EPOCHS - 1)
        sizes: list[int] = []
        while len(sizes) <= len(stops):  # each part has another number than the one before
            sizes.append(chance.choice([n for n in (1, 2, 4) if [n] != sizes[-1:]]))
        kind = list(KINDS)[seed % len(KINDS)]
        ways = WAYS[:-1] if kind in FALLING else WAYS
        parts = [
            Part(size, chance.choice(ways), stop, chance.randrange(size))
            for size, stop in zip(sizes, sorted(set(stops)), strict=False)
        ]
        return cls(kind, [*parts, Part(sizes[-1])])

    def __str__(self) -> str:
        parts = [f"{p.processes} until {p.stop} ({p.way or 'the end'})" for p in self.parts]
        return f"{self.kind}: {', '.join(parts)}"


def run(schedule: Schedule, root: Path) -> Run:
    """Runs all parts, each with its own exit code."""
    run, done = Run(root), 0
    for part in schedule.parts:
        if part.stop <= done:  # several ranks stop one batch after they are told
            continue
        codes = run.train(schedule.kind, part)
        told = part.way not in ("", "max_steps") and run.checkpoint["global_step"] < STEPS
        expected = [TRY_AGAIN if told else 0] + [0] * (part.processes - 1)
        assert codes == expected, f"{schedule}: {codes}\n{run.log}"
        done = run.checkpoint["global_step"]
    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """The run of each kind in one process, without a stop."""
    runs = {kind: Run(tmp_path_factory.mktemp("whole")) for kind in list(KINDS)[:ROUNDS]}
    for kind, run in runs.items():
        assert run.train(kind, Part(1)) == [0], run.log
    return runs


def largest_difference(one: Any, other: Any) -> float:
    """The largest difference of two numbers at the same place; places must be the same."""
    ours, theirs = dict(numbers(one)), dict(numbers(other))
    assert ours.keys() == theirs.keys()
    return max(((ours[place] - theirs[place]).abs().max().item() for place in ours), default=0.0)


def check(run: Run, whole: Run) -> dict[str, float]:
    """Compares a run with the one that was not stopped, and returns the largest differences."""
    ours, theirs = run.rows, whole.rows
    assert [row["step"] for row in theirs] == list(range(1, STEPS + 1))
    for key in ("step", "place", "images"):  # no batch twice, none left out, each with its rows
        assert [row[key] for row in ours] == [row[key] for row in theirs], key
    one, other = run.checkpoint, whole.checkpoint
    for key in ("epoch", "global_step", "seed"):
        assert one[key] == other[key], key
    return {
        "losses": largest_difference(
            [row["losses"] for row in ours], [row["losses"] for row in theirs]
        ),
        "weights": largest_difference(one["state_dict"], other["state_dict"]),
        "moments": largest_difference(one["optimizer_states"], other["optimizer_states"]),
        "schedules": largest_difference(one["lr_schedulers"], other["lr_schedulers"]),
        "logged": compare_logs(run.logged(), whole.logged()),
    }


def compare_logs(ours: dict[int, Any], theirs: dict[int, Any]) -> float:
    """Compares the logs. A part that ends by `max_steps` adds a validation at its end."""
    assert theirs.keys() <= ours.keys()
    assert all("val/" in name for step in ours.keys() - theirs.keys() for name in ours[step])
    kept = {step: {name: ours[step].get(name) for name in row} for step, row in theirs.items()}
    return largest_difference(kept, theirs)


def test_a_run_goes_on_with_another_number_of_processes(
    tmp_path: Path, whole: dict[str, Run], ledger: Ledger
) -> None:
    largest: dict[str, float] = {}
    wrong = 0
    for seed in range(ROUNDS):
        schedule = Schedule.draw(seed)
        (root := tmp_path / str(seed)).mkdir()
        differences = check(run(schedule, root), whole[schedule.kind])
        print(schedule, {k: f"{v:.1e}" for k, v in differences.items()}, flush=True)
        largest = {k: max(v, largest.get(k, 0.0)) for k, v in differences.items()}
        wrong += max(differences.values()) >= ROUNDING
    print("largest differences:", {k: f"{v:.1e}" for k, v in largest.items()})
    ledger.add(Row("go on with 1, 2 or 4 processes", ROUNDS, silent=wrong))
