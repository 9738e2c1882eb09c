"""What the command line offers beyond Lightning's own commands, and how it is read."""
