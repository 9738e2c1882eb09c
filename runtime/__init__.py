"""Keeps runs alive: run folders, atomic checkpoints, pre-emption, precision.

Import the modules, not this package: `runtime.signals` must load before Lightning does.
"""
