"""Stacked MNIST: an example of a data set, a score and a config outside the product."""
