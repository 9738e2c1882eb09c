"""Quality scores of generated samples, from the features and classes of a frozen judge.

Importing this package does not import torch, so that any command can use the table of scores.
"""

from metrics.scores import SCORES, Score, direction, title

__all__ = ["SCORES", "Score", "direction", "title"]
