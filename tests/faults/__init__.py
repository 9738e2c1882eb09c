"""Faults of all kinds, in rounds: nothing may be lost, hang, or go wrong in silence.

`make test-faults` runs a few rounds of each, `make test-faults-full` all of docs/measured.md.
"""
