"""Figures: their style, writing and logging, and those that several rooms plot."""
