"""Commands that are plain functions, called with a list of arguments."""

from jsonargparse import auto_cli


def export(args: list[str]) -> None:
    from commands.export import export

    auto_cli(export, args=args, prog="cli.py export", as_positional=True)


def demo(args: list[str]) -> None:
    from commands.demo import demo

    auto_cli(demo, args=args, prog="cli.py demo")
