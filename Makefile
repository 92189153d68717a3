# dibench: `make run` does the main job, `make test` checks everything. Both begin with `make setup`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
NATIVE := $(shell find csrc -type f 2>/dev/null) setup.py

.PHONY: run test setup bench campaign gpu-check clean check-prerequisites help
.DEFAULT_GOAL := help

help:
	@echo "make run    the main job: sweep real layers, fit, report (under five minutes)"
	@echo "make test   every test, linter and type check"
	@echo "make bench  kernel variants of a layer side by side, our fastest beside PyTorch's library"
	@echo "make campaign  ten minutes on a GPU: what tells most, fit and report; goes on where the last ended"
	@echo "make gpu-check  what only a GPU can show: every kernel, memory errors, races, counters"
	@echo "make setup  only .venv and the extension"
	@echo "make clean  remove what these made, but not results/"

check-prerequisites:
	@PYTHON=$(PYTHON) bash scripts/check-prerequisites.sh

# What is installed depends on pyproject.toml, what is built on the kernel sources. The stamps make a
# second call do nothing.
$(VENV)/.created: | check-prerequisites
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: pyproject.toml $(NATIVE) | $(VENV)/.created
	$(PY) -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

$(VENV)/.installed-torch: $(VENV)/.installed-test
	$(PY) -m pip install --quiet --disable-pip-version-check 'torch==2.13.0'
	@touch $@

setup: $(VENV)/.installed

run: setup
	@bash scripts/run.sh

test: $(VENV)/.installed-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PY) -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile

bench: $(VENV)/.installed-torch
	$(PY) -m pytest benchmarks --benchmark-only --benchmark-autosave --benchmark-columns=min,median,rounds

campaign: setup
	@bash scripts/campaign.sh

gpu-check: setup
	@bash scripts/gpu-check.sh

clean:
	rm -rf $(VENV) build dist *.egg-info dibench/*.so .mypy_cache .ruff_cache .import_linter_cache .hypothesis
