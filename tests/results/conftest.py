"""The runs of the tests of commands."""

from tests.commands.runs import cgan, classifier, iris  # noqa: F401
