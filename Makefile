# make bench      set up, measure the smoke suite here, print the verdicts, build the site
# make test       set up, run the correctness suite
# make lint       ruff and pyright
# make wheelhouse download what make needs, for a machine without a network
#
# PYTHON=...      the Python to build .venv with (default: the first of at least 3.11 found)
# TORCH_INDEX=... where a CPU build of torch is looked for on a machine without an NVIDIA device;
#                 empty takes whatever the default index offers (several GB of CUDA on Linux)

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup bench test lint site wheelhouse clean

PYTHON ?=
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
PYTEST_ARGS ?= -n 2
BENCH_ARGS ?=

bin := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# two worker threads of one small matrix product only add noise
export OMP_NUM_THREADS ?= 1

help:
	@sed -n 's/^# \{0,1\}//p;/^$$/q' Makefile

setup: .venv/stamp

.venv/stamp: pyproject.toml constraints.txt .ci/install
	@PYTHON="$(PYTHON)" TORCH_INDEX="$(TORCH_INDEX)" bash .ci/install
	@touch .venv/stamp

bench: setup
	@$(bin)/python -m bench.smoke $(BENCH_ARGS)

test: setup
	@$(bin)/python -m pytest -m "not alone" $(PYTEST_ARGS)
	@$(bin)/python -m pytest -m alone

lint: setup
	@$(bin)/python -m ruff check .
	@$(bin)/python -m ruff format --check .
	@$(bin)/python -m pyright --pythonpath $(bin)/python

site: setup
	@$(bin)/python -c "from bench.smoke import site; raise SystemExit(site())"

wheelhouse:
	@PYTHON="$(PYTHON)" TORCH_INDEX="$(TORCH_INDEX)" bash .ci/install --download

clean:
	rm -rf .venv .asv html
