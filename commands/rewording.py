"""Errors in one line: messages of jsonargparse, Lightning and torch in plain words.

Imports nothing heavy.
"""

import difflib
import itertools
import os
import re
import site
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Mapping, Sequence
from errno import ENAMETOOLONG
from pathlib import Path
from textwrap import shorten

from runtime import errors
from runtime.errors import RunFailedError, UserError, did_you_mean
from runtime.files import ROOT

NEEDED = ("torch", "lightning", "jsonargparse", "yaml", "numpy", "torchvision", "torchmetrics",
          "matplotlib", "seaborn", "pandas", "sklearn", "tensorboard", "timm")  # fmt: skip
ROOMS = ("callbacks", "commands", "datamodules", "figures", "metrics", "models", "pages",
         "results", "runtime")  # fmt: skip
MEANINGS = {  # options, commands and classes, perhaps with a value: what users of others type
    "max_epochs": "epoch epochs n_epochs num_epochs nb_epochs e",
    "max_steps": "steps n_steps num_steps iterations iters max_iter max_iters",
    "steps": "iterations iters", "batch_size": "batch bs b", "weight_decay": "wd l2",
    "lr": "learning_rate rate", "optimizer": "optim opt", "shape": "scheduler lr_scheduler",
    "hidden": "units layers num_layers", "width": "channels filters ngf ndf",
    "latent_dim": "z_dim nz noise_dim latent_size", "seed_everything": "seed random_seed",
    "precision bf16-mixed": "fp16 bf16 amp half", "accelerator cpu": "cpu no_cuda device",
    "accelerator gpu": "cuda gpu gpus device", "devices": "gpus gpu world_size",
    "num_nodes": "nodes", "path": "data_dir folder root images", "data_dir": "root folder",
    "dataset": "name", "data": "dataset path data_dir", "size": "image_size img_size",
    "default_root_dir": "logdir log_dir output output_dir out save_dir", "experiment": "name",
    "ckpt_path RUN": "resume resume_from_checkpoint load checkpoint ckpt",
    "init_from RUN": "pretrained weights", "callbacks+ EarlyStopping": "patience early_stopping",
    "fast_dev_run true": "debug dry_run", "run": "ckpt checkpoint model load",
    "count": "n num num_samples num_images samples number", "classes": "label class digit",
    "files": "images image input inputs path", "out": "o output output_dir", "jobs": "workers "
    "parallel num_workers", "format onnx": "onnx to", "format html": "html", "format torch": "pt",
    "clear": "remove delete", "fit": "train", "fit --ckpt_path RUN": "resume continue",
    "compare --list": "list ls runs show", "test": "eval evaluate", "validate": "val",
    "sample": "generate draw", "predict": "infer inference classify", "sweep": "tune search",
    "demo": "serve play", "cache": "clean", "export": "onnx", "html": "playground page",
    "--version": "version",
    "ConditionalGAN": "cgan", "GAN": "dcgan wgan", "VariationalAutoencoder": "vae",
    "Flow": "diffusion ddpm", "FeedForward": "mlp dense", "ConvNet": "cnn",
    "ImageClassifier": "cnn mlp", "PretrainedClassifier": "resnet18 resnet50 vit",
    "Images --data.dataset NAME": "mnist fashion digits cifar10",
    "TensorBoardLogger": "tb tensorboard", "WandbLogger": "wandb", "CSVLogger": "csv",
    "Points": "ring moons", "ImageFolder --data.path FOLDER": "folder",
}  # fmt: skip
FITTING = ("fit", "validate", "test")
LONGEST_LIST = 200  # letters
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
    r"Multiple subclasses with name (\w+)\. .*? ambiguity: ([\w.]+)[.,]": (
        "several classes are called {0}: give the import path of one, such as {1}."
    ),
    r"Import path does not correspond to a subclass of (\w+)": "expected a class of kind {0}.",
    r"Expected a <class 'collections.abc.Sequence'>\. Got value: (.+?)(?= - |$)": (
        "expected a list such as [{0}], got '{0}'."
    ),
    r"(?:Expected a tuple with (\d) |<class 'tuple'>).*? (?:Got|Given) value: (.+?)(?= - |$)": (
        "expected a list such as [0.9, 0.99], got '{1}'."
    ),
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
    r"Unable to load config '(.+?)' - ": "expected its options by name{names}, got '{0}'.",
}
LIGHTNINGS = {  # the same for messages of Lightning
    r"`Timer\(duration='(.*)'\)` is not": "--trainer.max_time {0}: expected days:hours:minutes:"
    "seconds, such as 00:01:30:00 for an hour and a half.",
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
        if error.errno == ENAMETOOLONG:
            name = errors.printable(str(error.filename))
            return 2, f"{name:.60}...: {error.strerror}: shorten it"
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
    for pattern, line in LIGHTNINGS.items():
        if match := re.search(pattern, message):
            message = line.format(*match.groups())
    return 2, message if lightnings else ""


def explain_constructor(error: BaseException) -> BaseException:
    """Returns what a constructor raised that jsonargparse has called.

    A class of this project or of a library was given what it does not take, which is a user's
    mistake, unless code of the user's own takes part.
    """
    while error.__cause__:
        error = error.__cause__
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    names = [frame.f_code.co_name for frame in frames]
    if "__init__" not in names or "abstract class" in str(error):
        return error
    if isinstance(error, OSError) and explain_error(error)[1]:
        return error
    frames = frames[names.index("__init__") :]  # before them is what called the first constructor
    if any(_is_users(frame.f_code.co_filename) for frame in frames):
        return error
    # The innermost class that an option names, or a network that could not compute.
    last = max((k for k, frame in enumerate(frames) if "jsonargparse" in frame.f_code.co_filename),
               default=0)  # fmt: skip
    made = [frame.f_locals["self"] for frame in frames[last:] if "self" in frame.f_locals]
    made = [part for part in made if not hasattr(type(part), "trainer")] or made
    reason = shorten(str(error), 140)
    reason = f"{type(made[0]).__name__} cannot be used there ({reason})" if made else reason
    return UserError(f"model: {reason}: choose another class")


def _is_users(file: str) -> bool:
    """Returns whether code lies neither in Python's own folders nor in one of this project."""
    paths = sysconfig.get_paths()
    folders = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders += [*site.getsitepackages(), site.getusersitepackages()]
    roots = {Path(name).resolve() for name in (*folders, *(str(ROOT / room) for room in ROOMS))}
    return roots.isdisjoint(Path(file).resolve().parents)


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
        classes: The short names of classes by the option that takes them, or by the first word of
            several, such as `model.`.
    """
    from commands.config_files import location_of, values

    options = [*options]
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
    location = location_of(path, args) or "--"
    if match := re.search(r"argument (?:-c/)?(--\S+): expected one argument", message):
        pairs = itertools.pairwise([*args, "--"])
        bare = (option for option, value in pairs if "=" not in option and value[:2] == "--")
        option = next((option for option in bare if option.startswith(match[1])), match[1])
        return f"{option} needs a value: write one after it."
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
        return f"{location}{path}: {owner} needs {match[1]}{remedy}."
    for pattern, line in VALUES.items():
        if match := re.search(pattern, message):
            *others, given = match.groups()
            # The message may cut a value at a space, but the command line does not.
            typed = dict(values(args)).get(f"--{path}", "")
            given = typed if typed.startswith(given) else given
            is_class = "no such class" in line or "name of a class" in line
            known = classes.get(path) or classes.get(f"{path.partition('.')[0]}.", ())
            choices = known if is_class else re.findall(r"'(\w+)'", match[0])
            word = "folder" if is_class and Path(given).is_dir() else given.strip("'")
            near = [] if word in choices else suggest(word, choices, most=2)
            if "bool" in others:  # a logger's class, too
                near = suggest(word, known, most=2)
            names = names_below(path, options)
            message = line.format(*others, given, names=names) + did_you_mean(near)
            if is_class and path in classes and choices and not near:
                message += f" It is one of {', '.join(choices)}."
            break
    else:
        message = message.rpartition("Parser key ")[2].partition(": ")[2] or message
        message = shorten(message.partition(" - Expected a <class 'NoneType'>")[0], 150)
    return f"{location}{path}: {message}" if path else message


def names_below(path: str, options: Iterable[str]) -> str:
    """Returns the first options below one, in parentheses; empty if there are none."""
    below = [name.removeprefix(f"{path}.") for name in options if name.startswith(f"{path}.")]
    return f" ({', '.join([*below[:6], *(['...'] * (len(below) > 6))])})" if below else ""


def suggest(word: str, names: Iterable[str], most: int = 1) -> list[str]:
    """Returns names that a wrong word may stand for, by their meaning, or by their spelling.

    Of dotted names only the last part counts. Those that begin like the word take precedence.
    """
    start, _, last = word.lower().replace("-", "_").rpartition(".")
    known: dict[str, list[str]] = {}
    for name in names:
        known.setdefault(name.rpartition(".")[2].lower(), []).append(name)
    meant = {short: [*nearest] for short, nearest in known.items()}
    for meaning, others in MEANINGS.items():
        short, space, value = meaning.partition(" ")
        for name in known.get(short.lower(), []):
            for other in others.split():
                meant.setdefault(other, []).append(f"{name}{space}{value}")
    if last in meant:
        nearest, most = meant[last], 2
    else:
        close = difflib.get_close_matches(last, meant, n=most, cutoff=0.7)
        nearest = [name for other in close for name in meant[other]]

    def shared(name: str) -> int:
        return len(os.path.commonprefix([name.split("."), start.split(".")]))

    best = max(map(shared, nearest), default=0)
    return [*dict.fromkeys(name for name in nearest if shared(name) == best)][:most]


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
    from commands.config_files import configs_called, location_of

    bare = name.lstrip("-")
    if Path(name).suffix in (".yaml", ".yml") and name == bare:
        return f"{name} is not an option. For a config file, write --config {name}."
    if name == bare and (Path(name).exists() or (args[0] == "predict" and "." in name)):
        return f"{name} is not an option. {_remedy_for_path(name, args)}"
    own: list[str] = []
    if path:
        from commands.fit.parser import FROM_DATA, default_init_args

        inits = default_init_args(owners[-1]) if owners else ()
        own = [f"{path}.{option}" for option in inits if option not in FROM_DATA]
    full = f"{path}.{bare}" if path else bare
    typed = name in [arg.partition("=")[0] for arg in args]  # otherwise in a file, or below a class
    location = "" if typed else location_of(full, args)
    known = [*dict.fromkeys([*own, *options])]
    near = [] if path and full in known else suggest(full, [s for s in known if s != path])
    if typed and name == bare and args[0] == "fit" and (files := configs_called(Path(name))):
        near = [f"config {files[0]}"]
    dashes, parts = "" if location else "--", {s: s.removeprefix(f"{path}.") for s in near}
    near = [s if path and "." not in s else f"{dashes}{full}" for full, s in parts.items()]
    text = f"{location}there is no option '{name}'."
    start, around = f"{full.rpartition('.')[0]}.", own
    if path:
        text = f"{location or '--'}{path} has no option '{bare}'."
    else:
        around = [s for s in known if s.startswith(start) or args[0] not in FITTING]
    listed = ", ".join(option.removeprefix(start) for option in around)
    if near:
        return text + did_you_mean(near)
    if path and not own:
        run = f"Write RUN directly after the command: `python cli.py {args[0]} RUN`."
        return f"{text} {'Give its class first.' if args[0] == 'fit' else run}"
    if listed and len(listed) < LONGEST_LIST:
        return f"{text} It is one of {listed}."
    of = f"{path}.help {owners[-1].rpartition('.')[2]}" if path else "help"
    return f"{text} `python cli.py {args[0]} --{of}` lists them."
