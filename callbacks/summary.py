"""Summary of the model at the start of a run."""

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.model_summary import ModelSummary, summarize
from lightning.pytorch.utilities.rank_zero import rank_zero_info


class Summary(Callback):
    """Prints the parts of the model with their parameters, before the first step.

    Lightning's own shows zeros and question marks for parts that a forward pass does not use.

    Args:
        max_depth: Levels of nested modules to show; -1 shows all.
    """

    def __init__(self, max_depth: int = 1) -> None:
        self.max_depth = max_depth

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _ = trainer.estimated_stepping_batches  # a batch size that cannot be is an error before
        rank_zero_info(table(summarize(pl_module, self.max_depth)))  # Every rank runs the model.


def table(summary: ModelSummary) -> str:
    """Formats the parts that have parameters; shapes only if every part has one."""
    counts = [f"{count:,}" for count in summary.param_nums]
    shapes = [map(_shape, sizes) for sizes in (summary.in_sizes, summary.out_sizes)]
    parts = zip(summary.layer_names, summary.layer_types, counts, *shapes, strict=True)
    rows = [("Part", "Type", "Parameters", "Input", "Output"), *(p for p in parts if p[2] != "0")]
    columns = [column for column in zip(*rows, strict=True) if "" not in column]
    padded = [[cell.ljust(max(map(len, column))) for cell in column] for column in columns]
    lines = ["  " + "  ".join(cells).rstrip() for cells in zip(*padded, strict=True)]
    total, fixed = summary.total_parameters, summary.total_parameters - summary.trainable_parameters
    lines.append(f"  {total:,} parameters" + f", {fixed:,} of them not trained" * bool(fixed))
    return "\n".join(lines)


def _shape(size: str | list[int]) -> str:
    known = isinstance(size, list) and all(isinstance(length, int) for length in size)
    return " x ".join(map(str, size[1:])) if known else ""
