"""Finished runs: what is in their folders, and tables of several."""

from results.run import RECORDS, RUNS, Run, Scores, find_runs

__all__ = ["RECORDS", "RUNS", "Run", "Scores", "find_runs"]
