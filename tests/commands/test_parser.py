"""The parser of a command and its help."""

from pathlib import Path

import pytest
from lightning import LightningModule

from commands import COMMANDS
from commands.ladder_cli import LadderCLI
from tests.test_cli import fails, parsed, run


def test_lightnings_parser_knows_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    line = fails(capsys, "--print_config", "tain")
    assert "invalid choice: 'tain'" in line
    assert all(name in line for name in COMMANDS)


def test_only_the_given_command_builds_its_parser(in_root: Path) -> None:
    """Each of the others would take 50 ms."""
    light = {name for name, command in COMMANDS.items() if command.light}
    given = ["fit", "--config=configs/gates.yaml"]
    for args in (given, {"fit": {"model": "GateMLP", "data": "Gates"}}):
        command = LadderCLI.__new__(LadderCLI)
        command.args = args  # type: ignore[assignment]
        assert command.subcommands().keys() == {"fit"}
    assert parsed(*given).parser.commands.keys() == {"fit"} | light


@pytest.mark.parametrize("command", ["fit", "sample", "maximize"])
def test_a_commands_own_options_come_first_in_its_help(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(command, "--help")
    assert "\nTrainer:" not in (short := capsys.readouterr().out)
    assert f"`python cli.py {command} --help all`" in " ".join(short.split())
    with pytest.raises(SystemExit):
        run(command, "--help", "all")
    text = capsys.readouterr().out
    for jargon in ("Annotated", "Linked arguments", "for `RunFolder`"):
        assert jargon not in text
    run_or_config = "--config FILE" if command == "fit" else "--ckpt_path RUN"
    assert text.startswith(f"usage: python cli.py {command} {run_or_config} [OPTIONS]\n")
    own = {"fit": "--init_from", "sample": "--count", "maximize": "--layer"}[command]
    places = [text.index(part) for part in (
        f"\nOptions of {command}:", f"  {own} ", "\noptions:", "\nTrainer, model and data options:",
        "\nTrainer:", "\nModel:", "\nData:", "\nCheckpoints:", "\nQuality scores:",
    )]  # fmt: skip
    assert places == sorted(places)
    assert ("--init_from" in text) == (command == "fit")


class Shout:
    """Adds a command."""

    def shout(self, model: LightningModule, loud: bool = False) -> None:
        """Prints a word.

        Args:
            loud: Print it in capitals.
        """


def test_a_users_command_is_described_by_its_method(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        run(f"{__name__}.Shout", "--help")
    del COMMANDS["shout"]
    assert "\n\nPrints a word.\n\n" in capsys.readouterr().out
