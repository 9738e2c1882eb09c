"""The form of a data set's examples, which a checkpoint keeps so that the data are not needed."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Frame(NamedTuple):
    """The form of training examples, to which a trained model needs other examples brought."""

    input_shape: tuple[int, ...]  # of one example; (C, H, W) of images
    scale: float = 1.0  # divisor of uint8 inputs
    class_names: tuple[str, ...] | None = None

    @classmethod
    def of_checkpoint(cls, checkpoint: Mapping[str, Any]) -> "Frame | None":
        """Returns the frame in a checkpoint; None if its DataModule saved none."""
        for value in checkpoint.values():
            if isinstance(value, dict) and isinstance(saved := value.get("frame"), dict):
                known = {name: saved[name] for name in cls._fields if name in saved}
                return cls(**known)
        return None
