"""Errors in one line: messages of jsonargparse, Lightning and torch in plain words.

Imports nothing heavy.
"""

import difflib
import re
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from textwrap import shorten

from runtime import errors
from runtime.errors import RunFailedError, UserError, did_you_mean
from runtime.files import ROOT

NEEDED = ("torch", "lightning", "jsonargparse", "yaml", "numpy", "torchvision", "torchmetrics",
          "matplotlib", "seaborn", "pandas", "sklearn", "tensorboard")  # fmt: skip
OPTIMIZER = "--model.optimizer (of a GAN --model.generator_optimizer)"
RATE = "--model.optimizer.lr (of a GAN --model.generator_optimizer.lr)"
WIDTH = "--model.network.width (of a GAN --model.generator.width and --model.trunk.width)"
GPUS = "--trainer.devices, with --trainer.accelerator gpu"
OTHER_NAMES = {  # what users of other tools type
    "epochs": "--trainer.max_epochs", "n_epochs": "--trainer.max_epochs",
    "num_epochs": "--trainer.max_epochs", "steps": "--trainer.max_steps",
    "batch_size": "--data.batch_size", "seed": "--seed_everything", "lr": RATE,
    "learning_rate": RATE, "optimizer.lr": RATE, "optimizer": OPTIMIZER, "optim": OPTIMIZER,
    "width": WIDTH, "gpu": GPUS, "gpus": GPUS, "device": GPUS, "resume": "--ckpt_path RUN",
    "number": "--count", "n": "--count",
}  # fmt: skip
FITTING = ("fit", "validate", "test")
OUT_OF_MEMORY = (
    "out of memory: set a smaller --data.batch_size, of a classifier with "
    "--trainer.accumulate_grad_batches 2 for the same updates, or a narrower model. Checkpoints "
    "are kept: `--ckpt_path last` continues the run."
)
NO_MEMORY = r"out of memory|can't allocate|not enough memory"
OTHER_WEIGHTS = r"Error\(s\) in loading state_dict for (\w+):\s*(.*)"
VALUES = {  # pattern in a message of jsonargparse about a value: a line for its groups
    r"(No module named '\S+'|module '\S+' has no attribute '\w+')": "cannot import it: {0}.",
    r"Expected a dot import path string: ([A-Z]\w*)": "there is no such class here as '{0}'.",
    r"an import path or a subclass spec, but got (\[)": "expected one class, got a list.",
    r"\w+: (\S+) does not conform to restriction (.+?)(?:\. Got| - |$)": (
        "expected a number {1}, got {0}."
    ),
    r"Not of type \w+: does not conform to restriction (.+?) - .*?Given value: (\S+)": (
        "expected a number {0}, got {1}."
    ),
    r"\[('.+?')\]\. Got value: (\S+)": "expected one of {0}, got '{1}'.",
    r"Expected a typing\.Literal\[(.+?)\].*? Given value: (\S+)": (
        "expected one of {0}, got '{1}'."
    ),
    r"<class '(?:int|float)'> - Expected a <class '(?:int|float)'>.*? Given value: (\S+)": (
        "expected a number, got '{0}'."
    ),
    r"'?seed_everything\b.*?(?:Got|Given) value: (\S+?)\.?(?=\s|$)": (
        "expected a number, true or false, got '{0}'."
    ),
    r"(?<!type: )<class '(?!NoneType)(\w+)'>.*? (?:Got|Given) value: (\S+?)\.?(?=\s|$)": (
        "expected {0}, got '{1}'."
    ),
    r"Int'>, collections.abc.Sequence.* Given value: (.+?) - ": (
        "expected int or a list such as [16, 16], got '{0}'."
    ),
    r"invalid literal for int\(\) with base 10: (\S+)": "expected int, got {0}.",
    r"could not convert string to float: (\S+)": "expected float, got {0}.",
    r"(?:Expected a dot import path string|Unexpected import path format): (.+?) - ": (
        "expected the name of a class, got '{0}'."
    ),
    r"Unable to load config '(.+?)' - ": "expected its options by name, got '{0}'.",
}


def explain_error(error: Exception) -> tuple[int, str]:
    """Returns the exit code and the message for an error; empty for an error in the code."""
    if isinstance(error, ModuleNotFoundError) and error.name in NEEDED:
        return 2, (
            f"{error.name} is not installed for {sys.executable}. Set up the environment, "
            f"`make train`, and `source {ROOT}/.venv/bin/activate`."
        )
    if isinstance(error, UserError):
        return 2, str(error)
    if isinstance(error, RunFailedError):
        return 1, str(error)
    if isinstance(error, OSError):
        return 1, errors.explain_disk_error(error)
    if errors.is_lost_process(error):
        return 1, errors.describe_lost_ranks(error)
    if isinstance(error, MemoryError):
        return 1, OUT_OF_MEMORY
    message, lightnings = " ".join(str(error).split()), _is_lightnings(error)
    dynamo = sys.modules.get("torch._dynamo.exc")
    if dynamo and isinstance(error, dynamo.TorchDynamoException):
        reason = next(filter(None, str(error).splitlines()))
        return 2, f"--trainer.compile true: {reason}. Leave the option out."
    if isinstance(error, TypeError) and "instantiate abstract class" in message:
        return 2, f"{message}: write what is missing there."
    if isinstance(error, RuntimeError) and re.search(NO_MEMORY, message):
        return 1, OUT_OF_MEMORY
    if isinstance(error, RuntimeError) and (match := re.search(OTHER_WEIGHTS, message)):
        return 2, (
            f"the checkpoint's weights do not fit this {match[1]} ({shorten(match[2], 140)}). "
            "Leave out --config and --model to take the run's own, or --ckpt_path to train anew."
        )
    return 2, message if lightnings else ""


def explain_constructor(error: BaseException) -> BaseException:
    """Returns what a constructor raised that jsonargparse has called.

    A constructor of this project was given what it does not take, which is a user's mistake.
    """
    while error.__cause__:
        error = error.__cause__
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    constructors = [frame for frame in frames if frame.f_code.co_name == "__init__"]
    own = Path(frames[-1].f_code.co_filename).is_relative_to(ROOT / "models")
    if not own or not constructors:
        return error
    owner = type(constructors[-1].f_locals.get("self")).__name__
    return UserError(f"model: {owner} cannot be used there ({error}): choose another class")


def _is_lightnings(error: BaseException) -> bool:
    """Returns whether Lightning itself complains, for example of a metric that is missing.

    It raises RuntimeError and others for what are mistakes in the settings of a run.
    """
    lightning = sys.modules.get("lightning.fabric.utilities.exceptions")
    if lightning and isinstance(error, lightning.MisconfigurationException):
        return True
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    known = isinstance(error, RuntimeError | ValueError | AttributeError)
    return known and "/lightning/" in "".join(files[-1:])


def explain_parser_error(
    message: str, args: list[str], options: Iterable[str], classes: Mapping[str, Sequence[str]]
) -> str:
    """Shortens a message of jsonargparse to one line.

    Args:
        message: The message of jsonargparse.
        args: The command line. The last config file in it that has the wrong key is cited.
        options: The dotted names of the command's options, of which the nearest is suggested.
        classes: The short names of classes, by the first word of options that take them.
    """
    from commands.config_files import place_of

    # Classes, from outside to inside, but not the short names in a given value.
    owners = re.findall(r"class_path[ =]'(\w+(?:\.\w+)+)'", message)
    called = re.search(r"required: \S+ Got value: Namespace\(class_path='([\w.]+)'", message)
    message = re.sub(r"\. Got value: Namespace\(.*", "", message)  # a class around the value
    message = re.sub(r"NestedArg\(key='[\w.]+', val='?(.*?)'?\)$", r"\1", message, flags=re.M)
    message = re.sub(r"\bv(?=[<>])", "", " ".join(message.split()))  # restrictions of a value v
    message = message.replace("] - Expected a typing.Literal[", ", ")  # a union of them is one
    # The name of the wrong value, of which a union's types repeat parts.
    path = ".".join(dict.fromkeys(re.findall(r'Parser key "([\w.]+)"', message)))
    if match := re.search(r"(?:arguments: |not accept option '|Option ')([^\s'=]+)", message):
        return _unknown(match[1], path, owners, args, options)
    place = place_of(path, args) or "--"
    if match := re.search(r"arguments? (?:is|are) required: (\S+)", message):
        if not path:
            name = match[1].removeprefix(f"{args[0]}.")
            if name == "model" and args[0] == "fit":
                return "missing: --model. Give a config file, such as `--config configs/cgan.yaml`."
            if name in ("model", "run"):
                example = f"`python cli.py {args[0]} runs/cgan`"
                return f"missing: RUN, directly after the command, such as {example}."
            return f"missing: --{name}."
        owner = (called[1] if called else owners[-1]).rpartition(".")[2]
        remedy = f": add `--{path}.{match[1]} VALUE`" if path in ("data", "model") else ""
        return f"{place}{path}: {owner} needs {match[1]}{remedy}."
    for pattern, line in VALUES.items():
        if match := re.search(pattern, message):
            given = match.groups()[-1].strip("'")
            suggested = classes.get(path.partition(".")[0], [])
            choices = suggested if "class" in line else re.findall(r"'(\w+)'", match[0])
            near = [] if given in choices else difflib.get_close_matches(given, choices, n=2)
            message = line.format(*match.groups()) + did_you_mean(near)
            if path == "data" and choices and not near:
                message += f" It is one of {', '.join(choices)}."
            break
    return f"{place}{path}: {message}" if path else message


def _remedy_for_path(path: str, args: list[str]) -> str:
    """Says where a path belongs that stands without an option."""
    if args[0] == "fit":
        return f"To continue a run, write --ckpt_path {path}."
    if args[0] == "predict" and not args[1].startswith("-"):
        return f"Name files with --files {path}."
    if "--ckpt_path" in args or (not args[1].startswith("-") and args[1] != path):
        return f"{args[0]} takes one run."
    return f"Write a run directly after the command: `python cli.py {args[0]} {path}`."


def _unknown(
    name: str, path: str, owners: list[str], args: list[str], options: Iterable[str]
) -> str:
    """Says that an option does not exist, where it is written, and which is near."""
    from commands.config_files import place_of

    bare = name.removeprefix("--")
    if Path(name).suffix in (".yaml", ".yml") and name == bare:
        return f"{name} is not an option. For a config file, write --config {name}."
    if name == bare and (Path(name).exists() or (args[0] == "predict" and "." in name)):
        return f"{name} is not an option. {_remedy_for_path(name, args)}"
    if path:
        from commands.fit.parser import default_init_args

        options, path = default_init_args(owners[-1]) if owners else (), f"{path}."
    place = place_of(f"{path}{bare}", args)
    dashes = name.removesuffix(bare) if path or place else "--"
    near = [dashes + option for option in difflib.get_close_matches(bare, [*options], n=1)]
    other = OTHER_NAMES.get(bare.replace("-", "_"), "")
    general, _, of_gan = other.rstrip(")").partition(" (of a GAN ")
    if path and of_gan:
        other = of_gan if "generator" in options else general
    belongs = args[0] in FITTING and other != "--count"
    if other and (belongs or other.partition(" ")[0].removeprefix("--") in options):
        near = [other]
    if not path:
        return f"{place}there is no option '{name}'.{did_you_mean(near)}"
    hint = did_you_mean(near) or f" It has {', '.join(options)}."
    run = f"Write RUN directly after the command: `python cli.py {args[0]} RUN`."
    hint = hint if options else f" {'Give its class first.' if args[0] == 'fit' else run}"
    return f"{place or '--'}{path.rstrip('.')} has no option '{bare}'.{hint}"
