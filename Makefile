# Everything a user or a contributor runs. Needs Python 3.11+, make and a package index; nothing else.
#
#   make demo                 set up, then run the demo suite and write the report
#   make demo SUITE=full      the same with GUE and five seeds
#   make test | lint | bench  what CI runs, and the speed figures
#
# PYTHON=python3.12 picks the interpreter. TORCH_INDEX=URL installs torch from that index first (PyTorch's CPU
# wheels, say); without it pip takes the build its own configuration offers.
PYTHON ?= python3
TORCH_INDEX ?=
SUITE ?= demo
STORE ?=
VENV := .venv
BIN := $(VENV)/bin
TORCH := $(shell grep -E '^torch==' constraints.txt)
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: demo setup test lint format bench constraints clean help
help:
	@sed -n '3,9s/^# \{0,2\}//p' Makefile

setup: $(VENV)/.run
$(VENV)/.run: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "glmstore needs Python 3.11 or newer; try make PYTHON=python3.12 …")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH) 2>$(VENV)/pip.log || { cat $(VENV)/pip.log; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e . 2>$(VENV)/pip.log || { cat $(VENV)/pip.log; exit 1; }
	touch $@
$(VENV)/.dev: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' 2>$(VENV)/pip.log || { cat $(VENV)/pip.log; exit 1; }
	touch $@

demo: $(VENV)/.run
	$(BIN)/glmstore run $(SUITE) $(if $(STORE),--store $(STORE))

test: $(VENV)/.dev
	$(BIN)/python -m pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev
	$(BIN)/python -m infra.bench

constraints: $(VENV)/.dev
	{ sed -n '/^#/p' constraints.txt; $(BIN)/python -m pip freeze --exclude-editable --exclude pip --exclude setuptools | sed 's/+cpu//'; } > build.constraints
	mv build.constraints constraints.txt

clean:
	rm -rf $(VENV) build *.egg-info
