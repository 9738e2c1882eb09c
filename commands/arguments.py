"""The command line, completed: lists joined, a run's config added, the experiment named.

Imports nothing heavy before a checkpoint must be read.
"""

import itertools
import json
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import yaml

from runtime.errors import UserError

# Options that take several values, and the type of one
LISTS = {"--classes": int, "--between": int, "--format": str, "--files": str}
FLAGS = ("--gif",)  # options that may stand without a value
RENAMED = {"--digits": "--classes"}  # former names of options, still accepted
CONFIG = ("--config", "-c")


def values(args: list[str]) -> list[tuple[str, str]]:
    """Returns each option with its value, written as `--option value` or `--option=value`."""
    parts = (arg.split("=", 1) if arg.startswith("-") else [arg] for arg in args)
    return list(pairwise(itertools.chain.from_iterable(parts)))


def given_files(args: list[str]) -> list[Path]:
    """Returns the config files among command line arguments, in their order."""
    return [Path(value) for option, value in values(args) if option in CONFIG]


def experiment_name(files: list[Path], class_path: str, given: str | None = None) -> str:
    """Returns the name of an experiment: the one given, or its first config file's or model's.

    Examples: `configs/cgan.yaml` is `cgan`, `configs/lecture/gan.yaml` is `lecture-gan`, and
    `runs/cgan/version_3/config.yaml` is `cgan`. Overlays, in `configs/trainer/` and
    `configs/logger/`, do not count.
    """
    if given and (Path(given).is_absolute() or ".." in Path(given).parts):
        raise UserError(f"--experiment {given}: give a name, which becomes a folder below runs/.")
    if given:
        return given
    for file in files:
        if file.name == "config.yaml":  # of a run
            return file.parent.parent.name
        if file.parent.name not in ("trainer", "logger"):
            parts = file.with_suffix("").parts
            start = parts.index("configs") + 1 if "configs" in parts else -1
            return "-".join(parts[start:])
    return class_path.rpartition(".")[2].lower()


def normalized(args: list[str]) -> list[str]:
    """Returns the arguments in the form that jsonargparse reads.

    Options have their present names, and lists are joined: `--digits 3 1 4` becomes `--classes
    [3, 1, 4]`, and `--files a.png b.png` becomes `--files ["a.png", "b.png"]`.
    """
    args = [f"{arg}=true" if _is_bare_flag(args, place) else arg for place, arg in enumerate(args)]
    joined: list[str] = []
    items: list[str] | None = None  # of the list option before, to which more may follow
    kind: Callable[[str], int | str] = str
    for arg in args:
        name, equals, value = arg.partition("=")
        name = RENAMED.get(name, name)
        if items is not None and (not arg.startswith("-") or arg[1:].isdecimal()):
            items += _items(arg)
        elif name in LISTS:
            items, kind = _items(value) if equals else [], LISTS[name]
            joined += [name, ""]
        else:
            items = None
            joined.append(name + equals + value)
            continue
        try:
            joined[-1] = json.dumps([*map(kind, items)])
        except ValueError:  # not numbers, as the parser will say
            joined[-1] = json.dumps(items)
    for option, value in pairwise(joined):
        if option in LISTS and value == "[]":
            raise UserError(f"{option} needs a value: write one or several after it.")
    return joined


def _is_bare_flag(args: list[str], place: int) -> bool:
    following = args[place + 1 : place + 2]
    return args[place] in FLAGS and (not following or following[0].startswith("-"))


def _items(text: str) -> list[str]:
    """Returns the values in an argument: one, or those of a list such as `[3,1,4]`."""
    with suppress(yaml.YAMLError):
        if isinstance(values := yaml.safe_load(text), list):
            return [*map(str, values)]
    return [text]


def with_config_of_run(args: list[str]) -> list[str]:
    """Adds the config of the run in `--ckpt_path` or `--init_from`, unless one is given.

    A checkpoint outside a run folder has no config. Its model's class is added instead.
    """
    from commands.model_arguments import saved_in
    from runtime import checkpoints, trust
    from runtime.run_folder import run_folder_of

    given = dict(values(args))
    option = next((name for name in ("--ckpt_path", "--init_from") if name in given), None)
    if not given.keys().isdisjoint({*CONFIG, "--model"}) or option is None:
        return args
    runs = Path(given.get("--trainer.default_root_dir", "runs"))
    checkpoint, own = checkpoints.resolve(given[option], runs, option=option), own_classes(args)
    folder = run_folder_of(checkpoint)
    if folder is None or not (folder / "config.yaml").is_file():
        saved = saved_in(checkpoint, own)
        return [args[0], "--model", saved["class_path"], *args[1:]] if saved else args
    config = folder / "config.yaml"
    if own is not None:
        trust.check_trust(yaml.safe_load(config.read_text()), str(config), own)
    return [args[0], "--config", str(config), *args[1:]]


def own_classes(args: list[str]) -> list[str] | None:
    """Returns the import paths that the user named; None if `--trust true` allows any other."""
    from runtime import trust

    given = values(args)
    if dict(given).get("--trust", "false").lower() == "true":
        return None
    found = [*trust.import_paths([value for _, value in given])]
    for file in given_files(args):
        with suppress(OSError, ValueError, yaml.YAMLError):  # `config_files.check` reports these
            found += trust.import_paths(yaml.safe_load(file.read_text()))
    return found
