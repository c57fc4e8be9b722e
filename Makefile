# Everything a user or a contributor runs. Needs Python 3.11+, make and a package index; nothing else.
#
#   make demo                 set up, then run the demo suite and write the report
#   make demo SUITE=full      the same with GUE and five seeds
#   make serve                Prefect server, workers and deployments on this machine until Ctrl-C; STORE=s3://…
#                             HOST=0.0.0.0 PORT=4300 GPUS=2; a webhook told of failures: NOTIFY_URL=https://… make serve
#                             (all options: python -m infra.serve --help)
#   make storage DIR=DIR      object storage on this machine, for trials; PORT=9000
#   make test | lint          what CI runs
#   make bench | load | chaos speed figures; what one server carries; whether faults lose anything
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


.PHONY: help setup demo serve storage test lint format bench chaos load constraints clean
help:
	@sed -n '3,13s/^# \{0,2\}//p' Makefile

PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
OR_SAY_WHY = 2>$(VENV)/pip.log || { cat $(VENV)/pip.log; exit 1; }

setup: $(VENV)/.run
$(VENV)/.run: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else \
	  "glmstore needs Python 3.11 or newer: make … PYTHON=python3.12")'
	@echo "Installing glmstore into $(VENV) (a minute or more, once) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH) $(OR_SAY_WHY)
	@$(PIP) -c constraints.txt -e . $(OR_SAY_WHY)
	@touch $@
$(VENV)/.service: $(VENV)/.run
	@$(PIP) -c constraints.txt -e '.[service]' $(OR_SAY_WHY)
	@touch $@
$(VENV)/.dev: $(VENV)/.run
	@echo "Installing what tests and linters need …"
	@$(PIP) -c constraints.txt -e '.[dev]' $(OR_SAY_WHY)
	@touch $@

demo: $(VENV)/.run
	$(BIN)/glmstore run $(SUITE) $(if $(STORE),--store $(STORE))

# Whoever has a chat's webhook can write there: by variable, where neither `ps` nor a run shows it.
serve: export SERVE_NOTIFY_URL := $(or $(NOTIFY_URL),$(SERVE_NOTIFY_URL))
unexport NOTIFY_URL
MAKEOVERRIDES :=
serve: $(VENV)/.service
	@exec $(BIN)/python -m infra.serve $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT)) \
	  $(if $(STORE),--store $(STORE)) $(if $(GPUS),--gpus $(GPUS))

storage: $(VENV)/.service
	@exec $(BIN)/python -m infra.s3 $(if $(PORT),--port $(PORT)) $(or $(DIR),$(error say where: make storage DIR=…))

test: $(VENV)/.dev
	@bash infra/apt.sh
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

load: $(VENV)/.dev
	$(BIN)/python -m infra.load

chaos: $(VENV)/.dev
	$(BIN)/python -m infra.chaos $(if $(SHORT),--short)

constraints: $(VENV)/.dev
	{ sed -n '/^#/p' constraints.txt; \
	  $(BIN)/python -m pip freeze --exclude-editable --exclude pip --exclude setuptools | sed 's/+cpu//'; \
	} > $(VENV)/constraints.txt
	mv $(VENV)/constraints.txt constraints.txt

clean:
	rm -rf $(VENV) build *.egg-info
