"""Refuses to build a wheel: Ladder is an application that is run from its folder."""

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel


class Refused(bdist_wheel):
    """Says what to do instead. An editable install, which only brings dependencies, passes."""

    def run(self) -> None:
        raise SystemExit(
            "Ladder is run from its folder, so it has no wheel: `pip install -e .` there installs "
            "what it needs. Another project uses its results through `python cli.py export`."
        )


setup(cmdclass={"bdist_wheel": Refused})
