"""Which curves of a run share a panel."""

import pytest

from callbacks import figures
from callbacks.figures import panels_of


def test_only_what_can_be_compared_shares_a_panel():
    names = ["train/loss", "val/loss", "val/accuracy", "val/balanced_accuracy",
             "val/accuracy_class_0", "lr-Adam", "epoch",
             "train/examples_per_s", "val/sup_error", "val/calibration_error", "val/mine",
             "floor/mine"]  # fmt: skip
    assert panels_of(names) == {
        "loss": ["train/loss", "val/loss"],
        "accuracy": ["val/accuracy", "val/balanced_accuracy"],
        "error": ["val/sup_error"],
        "mine": ["val/mine", "floor/mine"],
    }


def test_losses_of_any_module_are_shown():
    names = ["train_loss", "val_loss", "recon_loss_epoch", "train/loss_step"]
    assert panels_of(names) == {"loss": names}


def test_what_falls_is_shown_and_not_a_loss_that_rises_by_design():
    assert panels_of(["train/loss", "train/drift", "val/loss"]) == {
        "mean length of a drift": ["train/drift"]
    }
    names = ["train/loss", "train/kl", "val/kl", "val/elbo", "train/reconstruction"]
    assert [*panels_of(names)] == [
        "loss", "KL divergence, nats", "error of reconstruction, nats",
        "evidence lower bound, nats",
    ]  # fmt: skip


@pytest.mark.parametrize(("balanced", "drawn"), [(0.905, False), (0.8, True)])
def test_a_balanced_accuracy_that_looks_like_accuracy_is_not_drawn_twice(
    balanced, drawn, tmp_path, monkeypatch
):
    seen: list[dict[str, list[str]]] = []
    whole = figures.plot_curves
    monkeypatch.setattr(figures, "plot_curves", lambda *a: seen.append(a[1]) or whole(*a))
    text = f"step,val/accuracy,val/balanced_accuracy\n1,0.5,0.5\n2,0.9,{balanced}\n"
    (tmp_path / "metrics.csv").write_text(text, "utf-8")
    (tmp_path / "figures").mkdir()
    figures._plot_log(tmp_path / "figures")
    assert seen == [{"accuracy": ["val/accuracy", *["val/balanced_accuracy"] * drawn]}]
    assert (tmp_path / "figures" / "curves.png").is_file()
