"""A class that replaces another on the command line starts from its own defaults."""

from collections.abc import Callable
from typing import Any

import jsonargparse
import torch

from runtime.class_defaults import defaults_of_the_new_class


class Plain(torch.nn.Module):
    def __init__(self, dropout: float = 0.0, width: int = 1) -> None:
        super().__init__()


class Other(torch.nn.Module):
    def __init__(self, dropout: float = 0.5, width: int = 2) -> None:
        super().__init__()


class Model:
    def __init__(self, network: Callable[[], torch.nn.Module] = Plain) -> None: ...


def parsed(*chosen: str) -> dict[str, Any]:
    """Returns what is parsed when a class replaces the default, after values were chosen."""
    parser = jsonargparse.ArgumentParser()
    parser.add_class_arguments(Model, "model")
    args = [*chosen, f"--model.network={__name__}.Other"]
    return parser.parse_args(args).model.network.init_args.as_dict()


def test_a_class_that_replaces_another_starts_from_its_own_defaults():
    width = "--model.network.width=7"
    before = parsed(width)
    with defaults_of_the_new_class():
        assert parsed(width) == {"dropout": 0.5, "width": 7}
        assert parsed() == {"dropout": 0.5, "width": 2}
    assert parsed(width) == before == {"dropout": 0.0, "width": 7}
