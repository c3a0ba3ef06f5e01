# Each target sets up what it needs in .venv; stamp files make the set-up run once for each pyproject.toml.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# One thread for BLAS and for XLA, kernels one after the other: on a loaded machine, threads cost more than they give
# and ruin ratios (XLA's concurrent scheduler made one and the same solve take 11 or 70 ms).
PINNED := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 \
	XLA_FLAGS="--xla_cpu_multi_thread_eigen=false --xla_cpu_enable_concurrency_optimized_scheduler=false"

.DEFAULT_GOAL := help
.PHONY: help demo test bench docs clean ngspice

help:
	@echo "make demo   the main job on real text; the report goes to demo-report/"
	@echo "make test   linters, types, import contracts and tests"
	@echo "make bench  speed and memory against ngspice"
	@echo "make docs   the documentation, in docs/_build/html"
	@echo "make clean  removes what the others made, except $(VENV)"
	@echo "PYTHON=...  the interpreter that makes $(VENV) (3.11 or newer; now: $(PYTHON))"

demo: $(VENV)/.demo-stamp
	$(BIN)/analogep demo -o demo-report

test: $(VENV)/.dev-stamp ngspice
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations=40

bench: $(VENV)/.dev-stamp $(VENV)/.rivals-stamp ngspice
	$(PINNED) $(BIN)/python -m pytest tests/benchmarks -m bench -s

docs: $(VENV)/.dev-stamp
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf demo-report dist docs/_build docs/_figures docs/api
	rm -rf .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis .benchmarks
	find . -path ./$(VENV) -prune -o -type d -name __pycache__ -exec rm -rf {} +

$(VENV)/.demo-stamp: pyproject.toml $(VENV)/.created
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev-stamp: pyproject.toml $(VENV)/.created
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev,spice]"
	@touch $@

# badcrossbar, a rival of the tiles; its plotting, which nobody needs here, wants cairo, so its dependencies are named.
$(VENV)/.rivals-stamp: $(VENV)/.dev-stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps badcrossbar==1.1.0 pathvalidate sigfig
	@touch $@

# An environment that is already there is kept. One that could not be finished is removed, so that the next try is clean.
$(VENV)/.created:
	@if [ ! -e $(VENV) ]; then \
	    command -v $(PYTHON) >/dev/null \
	        || { echo "analogep: no $(PYTHON) found; name one with: make PYTHON=/path/to/python3.11" >&2; exit 1; }; \
	    $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	        || { echo "analogep needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1);" \
	                  "name another with: make PYTHON=/path/to/python3.11" >&2; exit 1; }; \
	    $(PYTHON) -m venv $(VENV) \
	        || { rm -rf $(VENV); \
	             echo "analogep: $(PYTHON) could not make $(VENV); on Debian and Ubuntu: apt-get install python3-venv" >&2; \
	             exit 1; }; \
	fi
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip
	@touch $@

# Never fails: without ngspice the tests say what they left out, and stop only under ANALOGEP_REQUIRE_SPICE=1.
ngspice:
	@command -v ngspice >/dev/null && ldconfig -p | grep -q libngspice && exit 0; \
	if command -v apt-get >/dev/null; then \
	    if [ "$$(id -u)" = 0 ]; then as_root="env"; \
	    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as_root="sudo -n env"; \
	    else as_root=""; fi; \
	    if [ -n "$$as_root" ]; then \
	        echo "installing ngspice by apt-get"; \
	        $$as_root apt-get update -qq; \
	        $$as_root DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ngspice libngspice0; \
	    fi; \
	fi; \
	command -v ngspice >/dev/null && exit 0; \
	echo "***********************************************************************" >&2; \
	echo "*** ngspice is not installed and could not be installed here.       ***" >&2; \
	echo "*** ALL TESTS AND BENCHMARKS AGAINST SPICE WILL BE LEFT OUT.        ***" >&2; \
	echo "*** Install it (Debian, Ubuntu: sudo apt-get install ngspice).      ***" >&2; \
	echo "***********************************************************************" >&2
