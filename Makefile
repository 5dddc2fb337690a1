# Two commands for a newcomer: `make quickstart` and `make test`. Both may be called again at any time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= results/quickstart

.PHONY: help quickstart test test-all test-slow test-backends lint reference docs clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 13) else "csilink needs Python 3.11 or 3.12, this is %d.%d; call `make PYTHON=python3.11 ...`" % v)'
	$(PYTHON) -m venv $(VENV)

# Installed once, and again when the requirements change.
$(VENV)/.run: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

quickstart: $(VENV)/.run  ## install, run the first scenario, say where the report is
	$(BIN)/csilink run scenarios/presets/quickstart.yaml --out $(OUT) --resume

# The tests start many processes: compiled modules are kept.
unexport PYTHONDONTWRITEBYTECODE

# Half of the tests each, in their order; who ends first takes half of what the other has left. ARGS adds options of pytest: `make test ARGS="-p randomly --randomly-dont-reset-seed"`.
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal --strict-skips

test: $(VENV)/.dev  ## install and run the quick tests (about 4 minutes on 2 cores)
	$(PYTEST) -m "not long and not slow" $(ARGS)

test-all: $(VENV)/.dev  ## all tests under TensorFlow (about 20 minutes on 2 cores)
	$(PYTEST) $(ARGS)

# TensorFlow is that of the other tests.
test-backends: $(VENV)/.dev  ## tests of mark "backend" under JAX and PyTorch, where they are installed
	@for backend in jax torch; do \
	  if $(BIN)/python -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$$backend') is None)"; then \
	    echo "KERAS_BACKEND=$$backend"; KERAS_BACKEND=$$backend $(PYTEST) --dist load -m backend $(ARGS) || exit 1; \
	  else echo "left out: tests under $$backend, which is not installed"; fi; \
	done

test-slow: $(VENV)/.dev  ## only the slowest of them
	$(PYTEST) -m slow $(ARGS)

lint: $(VENV)/.dev  ## formatting, style, import rules, declared packages, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/deptry simulator receivers scenarios benchmarks csilink
	$(BIN)/deptry tests docs --exclude '^$$' --ignore DEP002,DEP004  # these may use the development set
	$(BIN)/mypy

reference: $(VENV)/.run  ## docs/reference.md from the schemas
	$(BIN)/python docs/make_reference.py

docs: $(VENV)/.dev  ## the web site, in build/site; `ARGS=--fresh` executes all tutorials again
	$(BIN)/python docs/make_site.py $(ARGS)

clean:  ## remove results, not data sets, weights or the environment
	rm -rf results
