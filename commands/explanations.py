"""Explanations of what jsonargparse, Lightning and torch say about a mistake: one line each."""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from commands.config_files import OF_A_CLASS, place_of
from commands.errors import did_you_mean

BASES = ("LightningModule", "LightningDataModule", "Callback", "Logger")
MANY = 8  # choices: of more, only the nearest is named
LONG = 60  # characters of a value
KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "list": "a list",
    "tuple": "a list",
    "Sequence": "a list",
    "dict": "a mapping",
}
LEARNING_RATE = "--model.optimizer.lr, or --model.generator_optimizer.lr of a GAN"
OTHER_NAMES = {  # what users of other tools type
    "epochs": "--trainer.max_epochs",
    "steps": "--trainer.max_steps",
    "batch_size": "--data.batch_size",
    "seed": "--seed_everything",
    "lr": LEARNING_RATE,
    "learning_rate": LEARNING_RATE,
    "model.lr": LEARNING_RATE,
    "optimizer": "--model.optimizer, or --model.generator_optimizer of a GAN",
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
    r"gradient clipping is not supported for manual": (
        "trainer.gradient_clip_val is not for GANs: set --model.gradient_clip_val instead."
    ),
    r"gradient accumulation is not supported for manual": (
        "trainer.accumulate_grad_batches is not for GANs: set --model.accumulate_grad_batches "
        "instead."
    ),
    r"No supported gpu backend found|`CUDAAccelerator` can not run": (
        "trainer.accelerator: this machine has no GPU that PyTorch can use. Leave it out, or set "
        "it to cpu; several processes on the CPU: --config configs/trainer/ddp_cpu.yaml."
    ),
    r"Early stopping conditioned on metric `(.*?)` which is not available.*?following: `(.*)": (
        "trainer.callbacks: EarlyStopping watches {0}, which this run does not log. Set its "
        "monitor to one of: {1}"
    ),
}


def reworded(message: str) -> str:
    """Returns the message in one line, or what it means for somebody new to Lightning."""
    message = " ".join(message.split())
    for pattern, line in REWORDED.items():
        if match := re.search(pattern, message):
            return line.format(*(group.replace("`", "").strip() for group in match.groups("")))
    return message


def explain(message: str, args: list[str], options: Iterable[str], classes: Iterable[str]) -> str:
    """Says in one line what jsonargparse says in many.

    Args:
        message: The message of jsonargparse.
        args: The command line. The last config file in it that has the wrong key is cited.
        options: The dotted names of the command's options, of which the nearest is suggested.
        classes: The short names of classes, likewise.
    """
    # The name of the wrong value, of which a union's types repeat parts.
    path = ".".join(dict.fromkeys(re.findall(r'Parser key "([\w.]+)"', message)))
    # Classes, from outside to inside, but not the short names in a given value.
    owners = re.findall(r"class_path[ =]'(\w+(?:\.\w+)+)'", message)
    owner = owners[-1].rpartition(".")[2] if owners else path
    if match := re.search(r"argument (\S+): expected .*argument", message):
        return f"{match[1].split('/')[-1]} needs a value: write one after it."
    if match := re.search(r"(?:arguments: |not accept option ')(-*)([^\s'=]+)", message):
        return _unknown(match[1], match[2], args, options)
    if match := re.search(r"Option '([\w.]+)' is not accepted", message):
        return _not_of_class(match[1], path, owner, owners, args)
    if match := re.search(r"arguments? (?:is|are) required: (.*)", message):
        return _missing(match[1].split(", "), path, owner, args)
    if match := re.search(r"Not of type \w+: (\S+) does not conform to restriction (.+)", message):
        return _located(path, args, f"is {match[1]}: set it to {_range(match[2])}", " ")
    if text := _wrong_class(message, list(classes)):
        place = place_of("class_path", args, within=path)
        return f"{place}{path}: {text}" if place else _located(path, args, text)
    if text := _wrong_type(message):
        return _located(path, args, text)
    return " ".join(message.split())


def _located(path: str, args: list[str], text: str, colon: str = ": ") -> str:
    """Puts the place before a text: a config's file and line, or the option as it was typed."""
    place = place_of(path, args)
    return f"{place}{path}{colon}{text}" if place else f"--{path}{colon}{text}"


def _unknown(dashes: str, name: str, args: list[str], options: Iterable[str]) -> str:
    if not dashes and Path(name).suffix in (".yaml", ".yml"):
        return f"{name} is not an option. For a config file, write --config {name}."
    place = place_of(name, args)
    if not dashes and not place:
        return f"there is no use for '{name}': write the option that it belongs to before it."
    if name in OTHER_NAMES and args[0] in ("fit", "validate", "test", "sweep"):
        return f"{place}there is no option '{dashes}{name}': it is called {OTHER_NAMES[name]}."
    near = [f"{dashes}{option}" for option in difflib.get_close_matches(name, [*options], n=1)]
    hint = did_you_mean(near) or f" `python cli.py {args[0]} --help` shows those there are."
    return f"{place}there is no option '{dashes}{name}'.{hint}"


def _not_of_class(name: str, path: str, owner: str, owners: list[str], args: list[str]) -> str:
    place = place_of(name, args)
    if owner in BASES and not place:  # the class comes later on the command line
        return f"--{path}.{name} comes before its class: give --{path} CLASS first."
    if owner in BASES:
        near = did_you_mean(difflib.get_close_matches(name, OF_A_CLASS, n=1))
        near = near or f" Write `class_path: NAME`, with {name} below its init_args."
        return f"{place}{path}: '{name}' has no class.{near}"
    from commands.model_arguments import default_init_args

    own = default_init_args(owners[-1]) if owners else {}
    near = did_you_mean(difflib.get_close_matches(name, own, n=1))
    other = OTHER_NAMES.get(f"{path}.{name}")
    hint = near or (f" It is called {other}." if other else f" It has {', '.join(own)}.")
    return f"{place}{'' if place else '--'}{path}: {owner} has no option '{name}'.{hint}"


def _wrong_class(message: str, classes: list[str]) -> str:
    if missing := re.search(r"No module named '\S+'|module '\S+' has no attribute '\w+'", message):
        given = re.search(r"(?:Got value: |class_path ')([\w.]+)", message)
        return f"cannot import {given[1] if given else 'it'}: {missing[0]}."
    match = re.search(r"Expected a dot import path string: ([A-Za-z_][\w.]*)\s", f"{message}\n")
    if not match or (_kinds(message) and not match[1][0].isupper()):  # a number was expected
        return ""
    name = match[1].rstrip(".")
    if name in classes:
        return f"{name} is not the kind of class that is needed here."
    return f"there is no class '{name}'.{did_you_mean(difflib.get_close_matches(name, classes))}"


def _missing(names: list[str], path: str, owner: str, args: list[str]) -> str:
    command = args[0]
    if path:
        place = place_of("class_path", args, within=path)
        needed = " and ".join(names)
        options = " and ".join(f"--{path}.{name}" for name in names)
        remedy = f"add {needed} to its init_args" if place else f"give {options}"
        return f"{place}{'' if place else '--'}{path}: {owner} needs {needed}: {remedy}."
    options = ", ".join(f"--{name.removeprefix(f'{command}.')}" for name in names)
    remedy = f"a run, `python cli.py {command} RUN`"
    if command == "fit":
        remedy = "a config file, such as `python cli.py fit --config configs/cgan.yaml`"
    return f"missing: {options}. Give {remedy}."


def _range(restriction: str) -> str:
    """Returns a restriction such as `v>=0 and v<1` in words."""
    words = {">=": "{} or more", ">": "more than {}", "<=": "not more than {}", "<": "less than {}"}
    parts = re.findall(r"v(>=|<=|>|<)(\S+)", restriction)
    return ", but ".join(words[sign].format(number) for sign, number in parts)


def _wrong_type(message: str) -> str:
    message = re.sub(r"NestedArg\(key='.*?', val='(.*?)'\)", r"\1", message)
    if match := re.search(r"invalid literal for int\(\).*?: '(.*)'", message):
        return f"expected a whole number, got '{match[1]}'."
    if match := re.search(r"could not convert string to float: '(.*)'", message):
        return f"expected a number, got '{match[1]}'."
    for pattern in (
        r"(Expected an? .+?)\. Got value: (.*?)(?:\. Got value.*)?$",
        r"((?s:.*?))Given value: (.+?)(?:\. Got value.*)?$",
        r"((?s:.*?))Unable to load config '(.*)'",
    ):
        if match := re.search(pattern, message, re.MULTILINE):
            value = match[2] if len(match[2]) <= LONG else f"{match[2][:LONG]}..."
            choices = _choices(match[1])
            near = did_you_mean(difflib.get_close_matches(match[2], choices, n=1))
            if len(choices) > MANY and near:
                return f"'{value}' is not a possible value.{near}"
            return f"expected {_wanted(match[1], choices)}, got '{value}'.{near}"
    return ""


def _wanted(expected: str, choices: list[str]) -> str:
    kinds = _kinds(expected)
    if "float" in kinds:
        kinds = [kind for kind in kinds if kind != "int"]
    wanted = [KINDS.get(kind, kind) for kind in kinds]
    is_class = re.search(r"a dot import path|valid subclass|a subclass spec", expected)
    if is_class and "float" not in kinds:
        wanted.append("a class")
    wanted += choices
    named = " or ".join(filter(None, [", ".join(wanted[:-1]), *wanted[-1:]]))
    return named or "its options by name"


def _choices(message: str) -> list[str]:
    """Returns the texts that an error names as possible values."""
    literals = re.findall(r"Expected an? \S*Literal\[(.+)\]", message)
    values = [value.strip("'") for literal in literals for value in literal.split(", ")]
    return [*dict.fromkeys(values)]


def _kinds(message: str) -> list[str]:
    """Returns the types that an error names as expected, except None and classes."""
    found = re.findall(r"Expected an? <class '(.+?)'>", message)
    return [k for k in dict.fromkeys(n.rpartition(".")[2] for n in found) if k != "NoneType"]
