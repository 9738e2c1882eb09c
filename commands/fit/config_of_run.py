"""The config of a run that a command names: the user's own, or parts of somebody else's.

The config of a run that this user has trained is used as a whole. Of any other, `test` and
`validate` use the model, the data and a few numbers, built inside `trust.only_trusted`.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from commands import arguments, config_files
from metrics.judge import recipes
from runtime import checkpoints, own_configs, trust, yaml_files
from runtime.errors import UserError
from runtime.files import file_errors

PRECISIONS = (
    "auto",
    "32-true",
    "64-true",
    "16-true",
    "bf16-true",
    "16-mixed",
    "bf16-mixed",
    32,
    64,
)
CLASS_OPTIONS = re.compile(  # whose values are import paths, in a command line
    r"(--model|--trainer\.(callbacks|logger|plugins|profiler|strategy)|--quality\.extra_scores)"
    r"([.+].*)?|--data(\.class_path)?"
)


class Command(NamedTuple):
    """A command line whose configs of runs can be parsed."""

    args: list[str]
    texts: dict[Path, str]  # in place of the files of runs
    guard: Callable[[], AbstractContextManager[None]]  # for parsing and building
    is_foreign: bool  # somebody else may have made the run

    def with_texts(self, args: list[str]) -> list[str]:
        """Returns words of a command line in which the text stands in place of such a file."""
        words: list[str] = []
        for word in args:
            option, equals, value = word.partition("=")
            if words and words[-1] in config_files.CONFIG:
                word = self.texts.get(Path(word), word)
            elif equals and option in config_files.CONFIG:
                word = f"{option}={self.texts.get(Path(value), value)}"
            words.append(word)
        return words


def with_config_of_run(args: list[str]) -> Command:
    """Adds the config of the run in `--ckpt_path` or `--init_from`, unless one is given.

    Overlays do not count. They follow, so they change it.

    Raises:
        UserError: `fit` would use a config that somebody else may have made.
    """
    pairs = config_files.values(args)
    given, files = dict(pairs), config_files.given_files(args)
    option = next((name for name in ("--ckpt_path", "--init_from") if name in given), None)
    if option and "--model" not in given and all(map(arguments.is_overlay, files)):
        args = _add_config(args, option, given)
    trusted = given.get("--trust", "false").lower() in ("true", "yes")
    command = Command(args, {}, nullcontext, False)
    for file in filter(config_files.is_of_run, config_files.given_files(args)):
        content = yaml_files.content_of(file)
        if trusted:
            own_configs.remember(content)
        if trusted or (own_configs.is_recorded(content) and not file.is_symlink()):
            command.texts[file] = content.decode(errors="replace")
            continue
        _require_use(args[0], option, file)
        config_files.check_configs(files)
        values = parts_of(yaml_files.parse(content, file), file)
        command.texts[file] = json.dumps(values, default=str)
        own = [*_classes_of_user(pairs, [overlay for overlay in files if overlay != file])]
        addresses = [value for name, value in pairs if name.startswith("--data.")]
        guard = partial(trust.only_trusted, values, file, own, addresses)
        command = command._replace(guard=guard, is_foreign=True)
    return command


def _add_config(args: list[str], option: str, given: dict[str, str]) -> list[str]:
    runs = Path(given.get("--trainer.default_root_dir", "runs")).expanduser()
    name = option if args[0] == "fit" else "RUN"
    continues = args[0] == "fit" and option == "--ckpt_path"
    checkpoint = checkpoints.resolve(given[option], runs, continues, name)
    folder = checkpoints.run_folder_of(checkpoint) or checkpoint
    config = folder / "config.yaml"
    if not config.is_file():
        return args
    with file_errors(config), config.open("rb") as file:
        file.read(yaml_files.MAX_BYTES)  # raises if the disk refuses: no mistake of the user
    beside = f"--trainer.default_root_dir={os.path.relpath(folder / '../..')}"
    denied = ["--trust=false", "--allow_seen=false"]  # to which a config cannot say true
    return [args[0], "--config", str(config), beside, *denied, *args[1:]]


def _require_use(command: str, option: str | None, file: Path) -> None:
    """Refuses to train what the config of a run of others describes."""
    if command != "fit":
        return
    remedy = "copy it to a file outside of the run"
    if option == "--ckpt_path":
        remedy = "give your own, --config FILE, or --init_from in place of --ckpt_path"
    if option == "--init_from":
        remedy = "give your own, --config FILE, or --model and --data"
    raise UserError(
        f"{file} was not written by a command of yours, or was changed since, so fit does not use "
        f"it: {remedy}, or add --trust true if you know who made it"
    )


def parts_of(config: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Returns model, data, seed, precision and numbers of a run's config, and nothing else of it.

    Raises:
        UserError: A key would be joined with others.
    """
    trust.require_plain_keys(config, file)
    parts = {name: config[name] for name in ("model", "data") if name in config}
    if type(seed := config.get("seed_everything")) is int:
        parts["seed_everything"] = seed
    if (precision := _section(config, "trainer").get("precision")) in PRECISIONS:
        parts["trainer"] = {"precision": precision}
    for name in ("quality", "samples"):
        values = _section(config, name).items()
        parts[name] = {k: v for k, v in values if v is None or isinstance(v, int | float)}
    if (judge := _section(config, "quality").get("judge")) in ("pretrained", *recipes()):
        parts["quality"]["judge"] = judge
    return parts


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    return section if isinstance(section, Mapping) else {}


def _classes_of_user(pairs: list[tuple[str, str]], overlays: list[Path]) -> Iterator[str]:
    """Returns the values of options that take classes; a run's name or a folder is none."""
    pairs = [*pairs]
    for file in overlays:
        content = yaml_files.read(file)
        pairs += [("--data", str(_section(content, "data").get("class_path")))]
        for name in ("model", "trainer", "quality"):
            pairs += [("--model", value) for _, value in trust.leaves(content.get(name))]
    return (str(value) for option, value in pairs if CLASS_OPTIONS.fullmatch(option))
