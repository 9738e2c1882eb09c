"""Generative adversarial networks: the models, their networks, heads and losses."""
