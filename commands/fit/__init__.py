"""Lightning's commands: fit, validate and test."""
