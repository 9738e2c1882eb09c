"""The example score of CONTRIBUTING.md, importable by its path."""

from tests.test_extending import EXAMPLES

exec(EXAMPLES["score"], globals())
