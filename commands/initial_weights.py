"""`fit --init_from RUN`: a new run that starts from the weights of another."""

from pathlib import Path

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from runtime.errors import UserError


def load_into(model: LightningModule, checkpoint: Path) -> None:
    """Copies the weights that have the same name and shape in both models.

    A warning names the others, which keep their initial values: the last layer, if the new data
    have other classes.

    Raises:
        UserError: If none are the same.
    """
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["state_dict"]
    own = model.state_dict()
    same = {name: w for name, w in saved.items() if name in own and own[name].shape == w.shape}
    if not same:
        raise UserError(
            f"--init_from {checkpoint}: no weights have the name and shape of one in "
            f"{type(model).__name__}. Give a run of the same kind of model."
        )
    model.load_state_dict(same, strict=False)
    rank_zero_info(f"Weights from {checkpoint}: {len(same)} of {len(own)} tensors.")
    if missing := [name for name in own if name not in same]:
        rank_zero_warn(
            f"--init_from {checkpoint}: {', '.join(missing[:4])}{', ...' if missing[4:] else ''} "
            "have other shapes there or are missing, so they keep their initial values."
        )
