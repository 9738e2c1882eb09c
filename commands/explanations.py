"""Explanations of what jsonargparse says about a mistake: one line instead of many."""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

from commands.config_files import OF_A_CLASS, place_of
from commands.errors import did_you_mean
from commands.model_arguments import default_init_args

BASES = ("LightningModule", "LightningDataModule", "Callback", "Logger")
MANY = 8  # choices: of more, only the nearest is named
LONG = 60  # characters of a value
A_CLASS = r"a dot import path|valid subclass|a subclass spec"  # an error expects one
KERAS_LOSSES = {  # of a GAN's head, whose losses are classes
    "binary_crossentropy": "NonSaturating",
    "categorical_crossentropy": "the head SoftmaxHead",
}
KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true, false",
    "str": "text",
    "list": "a list",
    "tuple": "a list",
    "Sequence": "a list",
    "dict": "a mapping",
}


def explain(message: str, args: list[str], options: Iterable[str], classes: Iterable[str]) -> str:
    """Says in one line what jsonargparse says in many.

    Cites the last config file in `args` that has the wrong key, otherwise the option as it was
    typed. Suggests the nearest of `options`, dotted names, and `classes`, short names.
    """
    path = _path(message)
    # Classes, from outside to inside, but not the short names in a given value.
    owners = re.findall(r"class_path[ =]'(\w+(?:\.\w+)+)'", message)
    owner = _short(owners[-1]) if owners else path
    if match := re.search(r"argument (\S+): expected .*argument", message):
        return f"{match[1].split('/')[-1]} needs a value: write one after it."
    if match := re.search(r"(?:arguments: |not accept option ')(-*)([^\s'=]+)", message):
        return _unknown(match[1], match[2], args, options)
    if match := re.search(r"Option '([\w.]+)' is not accepted", message):
        own = default_init_args(owners[-1]) if owners else ()
        return _not_of_class(match[1], path, owner, own, args)
    if text := _wrong_class(message, list(classes)):
        place = place_of("class_path", args, within=path) or place_of(path, args)
        return _located(place, path, text)
    if match := re.search(r"arguments are required: (.*)", message):
        return _missing(match[1].split(", "), path, owner, args)
    if text := _wrong_type(message):
        return _located(place_of(path, args), path, text)
    return " ".join(message.split())


def _path(message: str) -> str:
    """Returns the dotted name of the wrong value: a union's types repeat parts of it."""
    return ".".join(dict.fromkeys(re.findall(r'Parser key "([\w.]+)"', message)))


def _located(place: str, path: str, text: str) -> str:
    return f"{place}{path}: {text}" if place else f"--{path}: {text}"


def _unknown(dashes: str, name: str, args: list[str], options: Iterable[str]) -> str:
    if not dashes and Path(name).suffix in (".yaml", ".yml"):
        return f"{name} is not an option. For a config file, write --config {name}."
    near = [dashes + option for option in difflib.get_close_matches(name, options, n=1)]
    hint = did_you_mean(near) or f" `python cli.py {args[0]} --help` lists all."
    return place_of(name, args) + f"there is no option '{dashes}{name}'.{hint}"


def _not_of_class(name: str, path: str, owner: str, own: Iterable[str], args: list[str]) -> str:
    place = place_of(name, args)
    if owner in BASES and not place:  # the class comes later on the command line
        return f"--{path}.{name} comes before its class: give --{path} CLASS first."
    if owner in BASES:
        near = did_you_mean(difflib.get_close_matches(name, OF_A_CLASS, n=1))
        near = near or f" Write `class_path: NAME`, with {name} below its init_args."
        return f"{place}{path}: '{name}' has no class.{near}"
    near = did_you_mean(difflib.get_close_matches(name, own, n=1))
    near = near or f" It has {', '.join(own)}."
    return _located(place, path, f"{owner} has no option '{name}'.{near}")


def _wrong_class(message: str, classes: list[str]) -> str:
    pattern = r"a callable class: ((?:No module named|module) .+?)\. Got value: (\S+)"
    if match := re.search(pattern, message):
        return f"cannot import {match[2]}: {match[1]}."
    if match := re.search(r"Multiple subclasses with name (\S+)\. .*?: (.+)\.", message):
        return f"there are several classes {match[1]}: write {match[2].replace(', ', ' or ')}."
    if match := re.search(r"class_path '(\S+)':\s+((?:No module named|module) .+)", message):
        return f"cannot import {match[1]}: {match[2]}."
    given = re.search(r"Expected a path but (\S+) either", message)
    if given and (match := re.search(r"not correspond to a subclass of ([\w.]+)", message)):
        return f"{given[1]} is not a {match[1]}."
    match = re.search(r"Expected a dot import path string: ([A-Za-z_][\w.]*)\s", f"{message}\n")
    if not match or (_kinds(message) and not match[1][0].isupper()):  # a number was expected
        return ""
    name = match[1].rstrip(".")
    if name in classes:
        return f"{name} is not the kind of class that is needed here."
    if name in KERAS_LOSSES:
        return f"Keras' {name} is {KERAS_LOSSES[name]} here."
    near = difflib.get_close_matches(name, classes)
    return f"there is no class '{name}'.{did_you_mean(near)}"


def _missing(names: list[str], path: str, owner: str, args: list[str]) -> str:
    command = args[0]
    if path:
        place = place_of("class_path", args, within=path)
        needed = " and ".join(names)
        options = " and ".join(f"--{path}.{name}" for name in names)
        remedy = f"add {needed} to its init_args" if place else f"give {options}"
        return _located(place, path, f"{owner} needs {needed}: {remedy}.")
    options = ", ".join(f"--{name.removeprefix(f'{command}.')}" for name in names)
    remedy = f"a run, `python cli.py {command} --ckpt_path RUN`"
    if command == "fit":
        remedy = "a config file, such as `python cli.py fit --config configs/cgan.yaml`"
    return f"missing: {options}. Give {remedy}."


def _outside(message: str) -> str:
    """Explains a number that is none, or is outside the range of its type."""
    pattern = r"Not of type.* (literal for int|string to float).*: '?(.*?)'?$"
    if match := re.search(pattern, message, re.MULTILINE):
        return f"expected {KINDS[match[1].split()[-1]]}, got '{match[2]}'."
    if limits := re.search(r"does not conform to restriction (.+)", message):
        given = re.search(r": (\S+) does not conform|Given value: (.+)", message)
        value = f", got {given[1] or given[2]}" if given else ""
        return f"expected a number {limits[1].replace('v', '')}{value}."
    return ""


def _wrong_type(message: str) -> str:
    if text := _outside(message):
        return text
    for pattern in (
        r"(Expected an? .+?)\. Got value: (.*?)(?:\. Got value.*)?$",
        r"((?s:.*?))Given value: (.+?)(?:\. Got value.*)?$",
        r"((?s:.*?))Unable to load config '(.*)'",
    ):
        if match := re.search(pattern, message, re.MULTILINE):
            value = match[2] if len(match[2]) <= LONG else f"{match[2][:LONG]}..."
            if len(_choices(match[1])) > MANY and (near := _near(*match.groups())):
                return f"'{value}' is not a possible value.{near}"
            return f"expected {_wanted(match[1])}, got '{value}'.{_near(*match.groups())}"
    return ""


def _near(expected: str, value: str) -> str:
    return did_you_mean(difflib.get_close_matches(value, _choices(expected), n=1))


def _wanted(expected: str) -> str:
    choices, kinds = _choices(expected), _kinds(expected)
    if "float" in kinds:
        kinds = [kind for kind in kinds if kind != "int"]
    wanted = [text for kind in kinds for text in KINDS.get(kind, kind).split(", ")]
    if re.search(A_CLASS, expected) and "float" not in kinds:
        wanted.append("a class")
    wanted += choices
    return " or ".join(filter(None, [", ".join(wanted[:-1]), *wanted[-1:]])) or "options by name"


def _choices(message: str) -> list[str]:
    """Returns the texts that an error names as possible values."""
    literals = re.findall(r"Expected an? \S*Literal\[(.+)\]", message)
    values = [value.strip("'") for literal in literals for value in literal.split(", ")]
    return [*dict.fromkeys(values)]


def _kinds(message: str) -> list[str]:
    """Returns the types that an error names as expected, except None and classes."""
    kinds = dict.fromkeys(map(_short, re.findall(r"Expected an? <class '(.+?)'>", message)))
    return [kind for kind in kinds if kind != "NoneType"]


def _short(name: str) -> str:
    return name.rpartition(".")[2]
