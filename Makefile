# dibench: `make run` does the main job, `make test` checks everything. Both begin with `make setup`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PYTEST := $(PY) -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile
FAST := floor plan models meters study show cli house/test_structure.py
NATIVE := $(shell find csrc -type f 2>/dev/null) setup.py

.PHONY: run campaign bench bench-quick gpu-check setup setup-dev lint format test-fast test docs clean help check-prerequisites
.DEFAULT_GOAL := help

help:
	@echo "To use it:"
	@echo "  make run        the main job: sweep real layers, fit, report (under five minutes)"
	@echo "  make campaign   ten minutes on a GPU: the most informative cases, fit, report; each call resumes"
	@echo "  make bench      kernel variants of a layer side by side, our fastest beside PyTorch's library"
	@echo "  make bench-quick  a few layers of it, in two minutes at most"
	@echo "  make gpu-check  everything that only a GPU can show: kernels, memory errors, races, counters"
	@echo "  make setup      only .venv and the compiled extension"
	@echo "To change it (CONTRIBUTING.md):"
	@echo "  make setup-dev  the same with linters and test libraries"
	@echo "  make format     fix what ruff can fix, then format"
	@echo "  make lint       ruff, mypy, import contracts"
	@echo "  make test-fast  the tests that a change in Python needs (under a minute on two cores)"
	@echo "  make test       linters and every test"
	@echo "  make docs       the pages that are written from the code, and all of docs/ as a site in build/site"
	@echo "  make clean      remove what these made, except results/"

check-prerequisites:
	@PYTHON=$(PYTHON) bash scripts/check-prerequisites.sh

# What is installed depends on pyproject.toml, what is built on the kernel sources. Where neither changed since
# its stamp, a second call does nothing.
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

setup-dev: $(VENV)/.installed-test

format: setup-dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

lint: setup-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

test-fast: setup-dev
	$(PYTEST) -m "not slow" $(addprefix tests/,$(FAST)) dibench

test: lint
	$(PYTEST)

docs: setup-dev
	$(PY) scripts/draw_architecture.py
	$(PY) scripts/write_api.py
	$(PY) scripts/write_reference.py
	$(PY) -m sphinx -q -W --keep-going -b html docs build/site
	@echo "the documentation: build/site/index.html"

bench: $(VENV)/.installed-torch
	@bash scripts/bench.sh

bench-quick: $(VENV)/.installed-test
	@bash scripts/bench.sh --quick

campaign: setup
	@bash scripts/campaign.sh

gpu-check: setup
	@bash scripts/gpu-check.sh

clean:
	rm -rf $(VENV) build dist *.egg-info dibench/*.so .mypy_cache .ruff_cache .import_linter_cache .hypothesis
