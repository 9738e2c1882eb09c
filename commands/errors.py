"""Errors in one line: what jsonargparse, Lightning and torch say, in the words of a user.

Imports nothing heavy.
"""

import difflib
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from runtime.errors import LOST_PROCESS, RunFailedError, UserError, explain, is_lost_process

ROOT = Path(__file__).parent.parent
NEEDED = ("torch", "lightning", "jsonargparse", "yaml", "numpy", "torchvision", "torchmetrics",
          "matplotlib", "seaborn", "pandas", "sklearn", "tensorboard")  # fmt: skip
BASES = ("LightningModule", "LightningDataModule", "Callback", "Logger")
OF_A_CLASS = ("class_path", "init_args", "dict_kwargs")
MANY = 8  # choices: of more, only the nearest is named
LONG = 60  # characters of a value
KINDS = {  # what a message says was expected, in words
    r"Expected a <class 'float'>|string to float": "a number",
    r"Expected a <class 'int'>|literal for int": "a whole number",
    r"Expected a <class 'bool'>": "true or false",
    r"Expected a <class '[\w.]*(list|tuple|Sequence)'>": "a list",
    r"Expected a dot import path|valid subclass": "a class",
}
LEARNING_RATE = "--model.optimizer.lr, or --model.generator_optimizer.lr of a GAN"
OTHER_NAMES = {  # what users of other tools type
    "epochs": "--trainer.max_epochs",
    "steps": "--trainer.max_steps",
    "batch_size": "--data.batch_size",
    "seed": "--seed_everything",
    "lr": LEARNING_RATE,
    "model.lr": LEARNING_RATE,
    "gpus": "--trainer.devices",
    "resume": "--ckpt_path RUN",
}
OUT_OF_MEMORY = (
    "out of memory: set a smaller --data.batch_size, with --trainer.accumulate_grad_batches 2 (of "
    "a GAN --model.accumulate_grad_batches 2) for the same steps, or a narrower model. Checkpoints "
    "are kept: `--ckpt_path last` goes on."
)
REWORDED = {  # pattern in a message of Lightning or torch: a line, with {0} for its first group
    r"out of memory|can't allocate|not enough memory|MemoryError": OUT_OF_MEMORY,
    r"Error\(s\) in loading state_dict for (\w+):\s*(.{0,140})": (
        "the checkpoint's weights do not fit this {0} ({1}). Leave out --config and --model to "
        "take the run's own, or --ckpt_path to train anew."
    ),
    r"gradient (clipping|accumulation) is not supported for manual": (
        "the Trainer's gradient {0} is not for GANs: set --model.gradient_clip_val or "
        "--model.accumulate_grad_batches instead."
    ),
}


def explained(error: Exception) -> tuple[int, str]:
    """Returns the exit code and the line for an error; an empty line if it is nobody's mistake."""
    if isinstance(error, ModuleNotFoundError) and error.name in NEEDED:
        return 2, _without_environment(error.name)
    if isinstance(error, UserError):
        return 2, str(error)
    if isinstance(error, RunFailedError):
        return 1, str(error)
    if isinstance(error, OSError):
        return 1, explain(error)
    if is_lost_process(error):
        return 1, LOST_PROCESS
    message = " ".join(f"{'MemoryError: ' * isinstance(error, MemoryError)}{error}".split())
    lightnings = _is_lightnings(error)
    if lightnings or isinstance(error, RuntimeError | MemoryError):
        for pattern, line in REWORDED.items():
            if match := re.search(pattern, message):
                return 1 if line is OUT_OF_MEMORY else 2, line.format(*match.groups(""))
    return 2, message if lightnings else ""


def _is_lightnings(error: BaseException) -> bool:
    """Returns whether Lightning itself complains, for example of a metric that is missing.

    It raises RuntimeError and others for what are mistakes in the settings of a run.
    """
    lightning = sys.modules.get("lightning.fabric.utilities.exceptions")
    if lightning and isinstance(error, lightning.MisconfigurationException):
        return True
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    file = frame.tb_frame.f_code.co_filename if frame is not None else ""
    return "/lightning/" in file and isinstance(error, RuntimeError | ValueError | AttributeError)


def _without_environment(package: str) -> str:
    """Says which command activates the environment that has a package."""
    text = f"{package} is not installed for {sys.executable}."
    if (ROOT / ".venv").is_dir():
        return f"{text} Activate the environment first: `source {ROOT}/.venv/bin/activate`."
    return f"{text} Set up the environment first: `make train`, then `source .venv/bin/activate`."


def did_you_mean(near: Iterable[str]) -> str:
    """Returns a question that names the nearest valid names; empty if there are none."""
    names = " or ".join(near)
    return f" Did you mean {names}?" if names else ""


def _nearest(name: str, names: Iterable[str], count: int = 1) -> str:
    return did_you_mean(difflib.get_close_matches(name, [*names], n=count))


def of_parser(message: str, args: list[str], options: Iterable[str], classes: Iterable[str]) -> str:
    """Says in one line what jsonargparse says in many.

    Args:
        message: The message of jsonargparse.
        args: The command line. The last config file in it that has the wrong key is cited.
        options: The dotted names of the command's options, of which the nearest is suggested.
        classes: The short names of classes, from which another is suggested.
    """
    from commands.config_files import place_of

    # The name of the wrong value, of which a union's types repeat parts.
    path = ".".join(dict.fromkeys(re.findall(r'Parser key "([\w.]+)"', message)))
    # Classes, from outside to inside, but not the short names in a given value.
    owners = re.findall(r"class_path[ =]'(\w+(?:\.\w+)+)'", message)
    owner = owners[-1].rpartition(".")[2] if owners else path
    if match := re.search(r"argument (\S+): expected .*argument", message):
        return f"{match[1].split('/')[-1]} needs a value: write one after it."
    if match := re.search(r"(?:arguments: |not accept option ')(-*)([^\s'=]+)", message):
        return _unknown(match[1], match[2], place_of(match[2], args), args[0], options)
    if match := re.search(r"Option '([\w.]+)' is not accepted", message):
        return _not_of_class(match[1], path, owner, owners, place_of(match[1], args))
    if match := re.search(r"arguments? (?:is|are) required: (.*)", message):
        place = place_of("class_path", args, within=path)
        return _missing(match[1].split(", "), path, owner, place, args[0])
    place = place_of(path, args)
    if text := _wrong_class(message, [*classes]):
        place = place_of("class_path", args, within=path) or place
    elif not (text := _wrong_value(message)):
        return " ".join(message.split())
    return f"{place}{'' if place else '--'}{path}: {text}"


def _unknown(dashes: str, name: str, place: str, command: str, options: Iterable[str]) -> str:
    if not dashes and Path(name).suffix in (".yaml", ".yml"):
        return f"{name} is not an option. For a config file, write --config {name}."
    if not dashes and not place:
        return f"there is no use for '{name}': write the option that it belongs to before it."
    if name in OTHER_NAMES and command in ("fit", "validate", "test", "sweep"):
        return f"{place}there is no option '{dashes}{name}': it is called {OTHER_NAMES[name]}."
    near = [f"{dashes}{option}" for option in difflib.get_close_matches(name, [*options], n=1)]
    hint = did_you_mean(near) or f" `python cli.py {command} --help` shows those there are."
    return f"{place}there is no option '{dashes}{name}'.{hint}"


def _not_of_class(name: str, path: str, owner: str, owners: list[str], place: str) -> str:
    if owner in BASES and not place:  # the class comes later on the command line
        return f"--{path}.{name} comes before its class: give --{path} CLASS first."
    if owner in BASES:
        near = _nearest(name, OF_A_CLASS) or f" Write `class_path: NAME`, with {name} below it."
        return f"{place}{path}: '{name}' has no class.{near}"
    from commands.parser import default_init_args

    own = default_init_args(owners[-1]) if owners else {}
    other = OTHER_NAMES.get(f"{path}.{name}")
    hint = f" It is called {other}." if other else f" It has {', '.join(own)}."
    hint = _nearest(name, own) or hint
    return f"{place}{'' if place else '--'}{path}: {owner} has no option '{name}'.{hint}"


def _missing(names: list[str], path: str, owner: str, place: str, command: str) -> str:
    if path:
        options = " and ".join(f"--{path}.{name}" for name in names)
        needed = " and ".join(names)
        remedy = f"add {needed} to its init_args" if place else f"give {options}"
        return f"{place}{'' if place else '--'}{path}: {owner} needs {needed}: {remedy}."
    options = ", ".join(f"--{name.removeprefix(f'{command}.')}" for name in names)
    remedy = f"a run, `python cli.py {command} RUN`"
    if command == "fit":
        remedy = "a config file, such as `python cli.py fit --config configs/cgan.yaml`"
    return f"missing: {options}. Give {remedy}."


def _wrong_class(message: str, classes: list[str]) -> str:
    if missing := re.search(r"No module named '\S+'|module '\S+' has no attribute '\w+'", message):
        given = re.search(r"(?:Got value: |class_path ')([\w.]+)", message)
        return f"cannot import {given[1] if given else 'it'}: {missing[0]}."
    match = re.search(r"Expected a dot import path string: ([A-Z][\w.]*)\s", f"{message}\n")
    if not match:  # a number was expected
        return ""
    if match[1] in classes:
        return f"{match[1]} is not the kind of class that is needed here."
    return f"there is no class '{match[1]}'.{_nearest(match[1], classes, 3)}"


def _wrong_value(message: str) -> str:
    if match := re.search(r"Not of type \w+: (\S+) does not conform to restriction (.+)", message):
        return f"expected a number {match[2].replace('v', '')}, got {match[1]}."
    pattern = r"(?:base 10|to float|Got value|Given value): '?(.+?)'?(?:\. Got value.*)?\s*$"
    if not (given := re.search(pattern, message, re.MULTILINE)):
        return ""
    value = given[1] if len(given[1]) <= LONG else f"{given[1][:LONG]}..."
    literals = re.findall(r"Expected an? \S*Literal\[(.+)\]", message)
    choices = [text.strip("'") for found in literals for text in found.split(", ")]
    near = _nearest(given[1], choices)
    if len(choices) > MANY and near:
        return f"'{value}' is not a possible value.{near}"
    wanted = [words for kind, words in KINDS.items() if re.search(kind, message)] + choices
    named = " or ".join(filter(None, [", ".join(wanted[:-1]), *wanted[-1:]]))
    return f"expected {named or 'its options by name'}, got '{value}'.{near}"
