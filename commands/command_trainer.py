"""The Trainer of the command line, with a method for each command."""

from lightning import Trainer

from commands import COMMANDS
from runtime.trainer import LadderTrainer


def methods() -> dict[str, type]:
    """Returns the classes that give the Trainer its further commands, by the method's name."""
    return {name: c.load() for name, c in COMMANDS.items() if c.path and not c.light}


def trainer_class() -> type[Trainer]:
    """Returns a Trainer that inherits the classes of all commands."""
    bases = (*methods().values(), LadderTrainer)
    same = "CommandTrainer" in globals() and CommandTrainer.__bases__ == bases
    return CommandTrainer if same else type("CommandTrainer", bases, {"__module__": __name__})


CommandTrainer = trainer_class()  # named here, because spawned processes get a pickled trainer
