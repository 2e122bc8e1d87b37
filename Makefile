# One verb a line; each works on a fresh checkout. `make help` lists them.

CONSTRAINTS ?= constraints.txt
KILL ?= 1
# Tests wait for processes as much as they compute, so more run at once than there are processors.
WORKERS ?= $(shell expr 2 \* $$(getconf _NPROCESSORS_ONLN) + 1)
ENVIRONMENT := CONSTRAINTS='$(CONSTRAINTS)' sh scripts/environment.sh
PYTHON_IN_VENV := .venv/bin/python
# What decides the contents of .venv; the stamps are older than these when something has to be installed again.
INPUTS := pyproject.toml $(wildcard plugins/*/pyproject.toml examples/*/pyproject.toml) constraints.txt scripts/environment.sh

export KILL
# Hundreds of interpreters are started here: without bytecode that is kept, each of them compiles all of Stem again.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup demo test check docs bench build

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

setup: .venv/.stem-dev ## make .venv with everything that tests and checks need

demo: .venv/.stem-demo ## count the files of a directory tree with two workers, one of them killed (DIR=..., KILL=0)
	@$(PYTHON_IN_VENV) examples/census/run.py $(if $(DIR),"$(DIR)")

test: .venv/.stem-dev ## run all tests, WORKERS at once (ARGS=... for pytest)
	@$(PYTHON_IN_VENV) -m pytest --numprocesses $(WORKERS) $(ARGS)

check: .venv/.stem-dev ## lint, format, types, layers
	@.venv/bin/ruff check --quiet .
	@.venv/bin/ruff format --check --quiet .
	@.venv/bin/mypy --no-error-summary
	@.venv/bin/lint-imports --no-logo

docs: .venv/.stem-dev ## write the reference pages that are made from the code, run every example
	@$(PYTHON_IN_VENV) docs/generate.py
	@$(PYTHON_IN_VENV) -m pytest -q tests/docs $(ARGS)

bench: .venv/.stem-bench ## measure speed and memory, beside raw loops and a peer (ARGS=... for the program)
	@$(PYTHON_IN_VENV) tests/benchmarks/run.py $(ARGS)

build: .venv/.stem-dev ## build the wheel and the sdist of every distribution into dist/
	@for project in . plugins/*/; do $(PYTHON_IN_VENV) -m build --outdir dist "$$project" >/dev/null || exit 1; done; ls dist

.venv/.stem-demo: $(INPUTS)
	@$(ENVIRONMENT) demo

.venv/.stem-dev: $(INPUTS)
	@$(ENVIRONMENT) dev

.venv/.stem-bench: .venv/.stem-dev tests/benchmarks/requirements.txt $(wildcard tests/benchmarks/peers/*.txt)
	@$(ENVIRONMENT) bench
