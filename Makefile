# `make train` and `make test` work on a fresh machine with Python 3.11 or newer; `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
CONFIG ?= configs/cgan.yaml

.PHONY: help train test slow lint ci clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 10

train: $(READY)  ## set up, then train the conditional GAN (CONFIG=configs/... for another)
	$(BIN)/python cli.py fit --config $(CONFIG)

test: $(READY)  ## set up, then run the quick tests
	$(BIN)/python -m pytest -m "not slow and not slurm and not gpu"

slow: $(READY)  ## the tests that take longer
	$(BIN)/python -m pytest -m "slow and not slurm and not gpu"

lint: $(READY)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

ci: lint test slow  ## all that must pass before a change is merged

clean:  ## remove caches and the environment, not runs/ or data/
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache *.egg-info build
	find . -name __pycache__ -prune -exec rm -rf {} +

$(READY): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@
