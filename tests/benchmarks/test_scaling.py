"""The model of a step on many GPUs, in closed form; work counted on a layer whose work is known."""

import pytest

from benchmarks.scaling import Machine, System, Work, count, main

MACHINE = Machine(flops=1e3, kernel=1.0, node=2, latency_node=1.0, latency_hop=0.5, node_rate=10.0,
                  network_rate=5.0)  # fmt: skip


def test_an_all_reduce_goes_through_nodes_and_the_tree_between_them():
    assert MACHINE.all_reduce(100.0, 1) == 1.0
    assert MACHINE.all_reduce(100.0, 2) == 1.0 + 2 * 0.5 * 100 / 10
    # Four nodes: two hops each way, and 3/4 of half the bytes twice through each card
    assert MACHINE.all_reduce(100.0, 8) == 11.0 + 2 * 0.5 * 2 + 2 * 0.75 * 50 / 5


@pytest.mark.parametrize(("overlaps", "exposed"), [(False, 11.0), (True, 11.0 - 2 / 3 * 9)])
def test_only_what_the_backward_pass_does_not_hide_counts(overlaps, exposed):
    work = Work(9e3, kernels=2.0, collectives=0, weights=(25,), overlaps=overlaps)
    assert work.seconds(MACHINE) == 9.0
    assert work.share(MACHINE, 2) == pytest.approx(9 / (9 + exposed))


def test_the_work_of_a_dense_layer_is_counted(in_root):
    system = System("mnist_dense", (1, 4, 4), 32, ("--model.network.hidden=0",))
    work = count(system)
    assert work.weights == (16 * 10 + 10,)
    # Forward and the weight's gradient; the input needs none
    assert work.flops == 2 * (2 * 32 * 16 * 10)


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), (["calculat"], 2), ([], 2)])
def test_other_words_are_answered_without_a_table(words, code, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == code
    assert "{calculate,check}" in "".join(capsys.readouterr())
