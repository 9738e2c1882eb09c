"""The example score of docs/extending.md, importable by its path."""

from tests.test_extending import EXAMPLES

exec(EXAMPLES["score"].python, globals())
