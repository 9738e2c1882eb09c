"""Commands that are plain functions, called with a list of arguments."""

from jsonargparse import auto_cli

from commands.arguments import normalized


def export(args: list[str]) -> None:
    from commands.export import export

    auto_cli(export, args=normalized(args), prog="cli.py export")


def demo(args: list[str]) -> None:
    from commands.demo import demo

    auto_cli(demo, args=args, prog="cli.py demo")
