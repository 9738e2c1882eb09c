# `make train` and `make test` work on a new machine with Python 3.11 or newer. `make help` lists all targets.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
EXTRAS_READY := .venv/extras-ready
EXTRAS := export,sweep,wandb,mlflow,browser,docs,pretrained,datasets
BENCH_READY := .venv-bench/ready
CONFIG ?= configs/cgan.yaml
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
IN_TWO := $(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder --durations=10
ELSEWHERE := slurm or gpu or faults or full
TESTS ?= not (slow or extras or browser or $(ELSEWHERE))

.PHONY: help train demo notebook test slow test-extras test-browser test-browser-full test-faults test-faults-full test-gpu test-slurm lint docs ci ci-computes ci-waits bench bench-gpu reproduce-quality clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 12

train: $(READY)  ## set up .venv, then train the conditional GAN (another config: CONFIG=configs/...)
	$(BIN)/python cli.py fit --config $(CONFIG)

demo: $(READY)  ## play with trained models in a browser
	$(BIN)/python cli.py demo

notebook: $(READY)  ## install Jupyter and open the notebooks in a browser
	$(BIN)/python -m pip install --quiet --disable-pip-version-check notebook
	$(BIN)/jupyter notebook notebooks

test: $(READY)  ## set up .venv, then run the quick tests
	$(IN_TWO) -m "$(TESTS)"

slow: $(READY)  ## run the slow tests
	$(IN_TWO) -m "slow and not (extras or browser or $(ELSEWHERE))"

test-extras: $(EXTRAS_READY)  ## install the optional libraries, then run their tests
	$(IN_TWO) -m extras

test-browser: $(EXTRAS_READY)  ## play with the page of `demo` in Chromium (LADDER_BROWSER=install: install it)
	$(PYTEST) -m "browser and not full" tests/pages/browser

test-browser-full: $(EXTRAS_READY)  ## the same, and what the page learns in minutes
	$(PYTEST) -m browser tests/pages/browser

test-faults: $(READY)  ## run a few rounds of every fault: kills, damage, full disks
	$(IN_TWO) -m "faults and not extras" tests/faults

test-faults-full: $(READY)  ## run all rounds of docs/measured.md (hours)
	LADDER_FAULTS=full $(PYTEST) -m faults tests/faults

test-gpu: $(READY)  ## run the tests that need a CUDA device
	$(PYTEST) -m gpu

test-slurm: $(READY)  ## start a SLURM with two nodes on this machine and train on it (LADDER_SLURM=install: install it)
	$(PYTEST) -m slurm -s tests/slurm

lint: $(READY)  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(EXTRAS_READY) build/lecture.ipynb  ## build the documentation as a site in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet  # Material advertises its successor

build/lecture.ipynb: notebooks/lecture.ipynb  # executed
	$(PYTEST) -m slow tests/notebooks

# Two chains, of about the same length: one mostly computes, the other mostly waits.
ci: $(EXTRAS_READY)  ## run all checks that must pass before a merge
	$(MAKE) -j 2 --output-sync=target ci-computes ci-waits

ci-computes: lint
	$(MAKE) test TESTS="extras or not ($(ELSEWHERE))"
	$(MAKE) docs

ci-waits:
	$(MAKE) -j 1 test-slurm test-faults

bench: $(READY) $(BENCH_READY)  ## compare speed with Keras, plain PyTorch and the machine's limit (BENCH="--data-dir DIR")
	$(BIN)/python -m benchmarks $(BENCH)

bench-gpu: $(READY)  ## test and measure GPUs in at most 30 minutes (BENCH="--data-dir DIR"; without a GPU: BENCH=--cpu)
	$(BIN)/python -m benchmarks.gpu $(BENCH)

reproduce-quality: $(READY)  ## repeat published scores (PART=cgan; without PART: list the parts; BENCH="--seeds 0 1")
	$(BIN)/python -m benchmarks.reproduce $(PART) $(BENCH)

clean:  ## remove caches and .venv, but not runs/ or data/
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache *.egg-info build
	find . -name __pycache__ -prune -exec rm -rf {} +

$(READY): pyproject.toml
	@echo "Setting up .venv: two to three minutes and 1.7 GB; a download of 3 GB if pip brings a PyTorch with CUDA (README says how not)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

$(EXTRAS_READY): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,$(EXTRAS)]'
	@touch $@

# Keras gets a separate environment.
$(BENCH_READY): pyproject.toml
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check \
		$$(.venv-bench/bin/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['bench'])")
	@touch $@
