"""A class that replaces another starts from its own defaults, and removed options are dropped."""

from collections.abc import Callable
from typing import Any

import jsonargparse
import pytest
import torch
from jsonargparse import ArgumentError

from runtime.class_defaults import corrected_init_args
from runtime.errors import user_error_in


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
    with corrected_init_args():
        assert parsed(width) == {"dropout": 0.5, "width": 7}
        assert parsed() == {"dropout": 0.5, "width": 2}
    assert parsed(width) == before == {"dropout": 0.0, "width": 7}


class Shrunk(Plain):
    removed_options = {"depth": 3}


def test_a_removed_option_is_dropped_at_its_old_default_and_named_at_another_value():
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(torch.nn.Module, "network")

    def built(**saved: int) -> Any:
        spec = {"class_path": f"{__name__}.Shrunk", "init_args": {"width": 7, **saved}}
        with corrected_init_args():
            return parser.parse_object({"network": spec}).network.init_args.as_dict()

    assert built(depth=3) == built() == {"dropout": 0.0, "width": 7}
    with pytest.raises(ArgumentError) as raised:
        built(depth=4)
    expected = "Shrunk has no option depth any more, and here it is 4"
    assert expected in str(user_error_in(raised.value))
