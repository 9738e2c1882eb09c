# `make train` and `make test` work on a fresh machine with Python 3.11 or newer; `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
BENCH_READY := .venv-bench/ready
CONFIG ?= configs/cgan.yaml

.PHONY: help train test slow test-gpu test-slurm lint ci bench bench-gpu clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 12

train: $(READY)  ## set up, then train the conditional GAN (CONFIG=configs/... for another)
	$(BIN)/python cli.py fit --config $(CONFIG)

test: $(READY)  ## set up, then run the quick tests
	$(BIN)/python -m pytest -m "not slow and not slurm and not gpu"

slow: $(READY)  ## the tests that take longer
	$(BIN)/python -m pytest -m "slow and not slurm and not gpu"

test-gpu: $(READY)  ## the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu

test-slurm: $(READY)  ## start a SLURM with two nodes on this machine and train on it (installs Debian's)
	$(BIN)/python -m pytest -m slurm -s tests/slurm

lint: $(READY)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

ci: lint test slow test-slurm  ## all that must pass before a change is merged

bench: $(READY) $(BENCH_READY)  ## speed against Keras, plain PyTorch and the machine's limit (BENCH="--data-dir DIR")
	$(BIN)/python -m benchmarks $(BENCH)

bench-gpu: $(READY)  ## the same on a GPU, where there is one
	$(BIN)/python -m benchmarks --only gpu $(BENCH)

clean:  ## remove caches and the environment, not runs/ or data/
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache *.egg-info build
	find . -name __pycache__ -prune -exec rm -rf {} +

$(READY): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

# Keras in an environment of its own: the extra's packages alone, without this project's.
$(BENCH_READY): pyproject.toml
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check \
		$$(.venv-bench/bin/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['bench'])")
	@touch $@
