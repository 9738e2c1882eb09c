"""The small trained runs are fixtures of all tests in this folder."""

from tests.commands.runs import cgan, classifier, gan, iris  # noqa: F401
