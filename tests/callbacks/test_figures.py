"""Which curves of a run share a panel."""

from callbacks.figures import panels_of


def test_only_what_can_be_compared_shares_a_panel():
    names = ["train/loss", "val/loss", "val/accuracy", "val/accuracy_class_0", "lr-Adam", "epoch",
             "train/examples_per_s", "val/sup_error", "val/calibration_error", "val/mine",
             "floor/mine"]  # fmt: skip
    assert panels_of(names) == {
        "loss": ["train/loss", "val/loss"],
        "accuracy": ["val/accuracy"],
        "error": ["val/sup_error"],
        "expected calibration error\n(lower is better)": ["val/calibration_error"],
        "mine": ["val/mine", "floor/mine"],
    }


def test_losses_of_any_module_are_shown():
    names = ["train_loss", "val_loss", "recon_loss_epoch", "train/loss_step"]
    assert panels_of(names) == {"loss": names}
