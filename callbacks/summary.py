"""Summary of the model at the start of a run."""

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.model_summary import ModelSummary, summarize
from lightning.pytorch.utilities.rank_zero import rank_zero_info


class Summary(Callback):
    """Prints the parts of the model with their parameters, before the first step.

    Replaces Lightning's table, which shows zeros and question marks for parts that a forward pass
    does not use, such as metrics and a GAN's discriminator.

    Args:
        max_depth: Levels of nested modules to show; -1 shows all.
    """

    def __init__(self, max_depth: int = 1) -> None:
        self.max_depth = max_depth

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        rank_zero_info(table(summarize(pl_module, self.max_depth)))  # Every rank runs the model.


def table(summary: ModelSummary) -> str:
    """Returns the parts that have parameters, then the totals, as lines of text.

    The shapes of inputs and outputs are without the batch. They are left out unless every part has
    them.
    """
    columns = {
        "Part": summary.layer_names,
        "Type": summary.layer_types,
        "Parameters": [f"{count:,}" for count in summary.param_nums],
        "Input": [_shape(size) for size in summary.in_sizes],
        "Output": [_shape(size) for size in summary.out_sizes],
    }
    kept = [place for place, count in enumerate(summary.param_nums) if count]
    lines = [""] * (1 + len(kept))
    for name, values in columns.items():
        cells = [name, *(values[place] for place in kept)]
        if "" not in cells:
            width = max(map(len, cells))
            lines = [f"{line}  {cell:<{width}}" for line, cell in zip(lines, cells, strict=True)]
    total, fixed = summary.total_parameters, summary.total_parameters - summary.trainable_parameters
    lines.append(f"  {total:,} parameters" + f", {fixed:,} of them not trained" * bool(fixed))
    return "\n".join(line.rstrip() for line in lines)


def _shape(size: str | list[int]) -> str:
    known = isinstance(size, list) and all(isinstance(length, int) for length in size)
    return " x ".join(map(str, size[1:])) if known else ""
