"""Failures of a run that are nobody's mistake on the command line."""


class RunFailedError(RuntimeError):
    """A run that cannot go on: `main` prints the reason in one line and exits with 1."""
