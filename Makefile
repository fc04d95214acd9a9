# Everything here works on a machine with nothing but Python 3.11 or newer and make.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ifndef PYTHON
PYTHON := $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,$(shell \
	$(name) -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' \
	>/dev/null 2>&1 && echo $(name))))
endif

# `make demo TEXT=my_books/` learns from your own text; TIME is the time it may train for.
TEXT ?=
TIME ?= 5m
DEMO_TEXT := $(or $(TEXT),build/python-source)
DEMO := demo/$(subst *,all,$(notdir $(basename $(patsubst %/,%,$(DEMO_TEXT)))))

.PHONY: setup demo test soak lint types check docs clean help

help:
	@echo 'make demo [TEXT=path] [TIME=5m]  a model, samples and a report, from your text or from Python itself'
	@echo 'make test                        the tests, with coverage'
	@echo 'make check                       lint, types, tests, as in continuous integration'
	@echo 'make soak                        the long tests: hundreds of kills, real budgets'
	@echo 'make docs                        write docs/commands.md anew from the code'
	@echo 'make setup                       only create $(VENV); the others do it by themselves'

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo 'nextword needs Python 3.11 or newer, with its venv module' \
		'(on Debian and Ubuntu: apt install python3-venv); or say where: make PYTHON=/path/to/python'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: setup
	$(if $(TEXT),,$(BIN)/python examples/python_source.py $(DEMO_TEXT))
	$(BIN)/nextword pretrain "$(DEMO_TEXT)" --out "$(DEMO)" --budget $(TIME) --resume
	$(BIN)/nextword generate "$(DEMO)" $(if $(TEXT),,"class Reader:") --num-samples 2 --max-new-tokens 160
	$(BIN)/nextword report "$(DEMO)"

test: setup
	$(BIN)/python -m pytest -m "not slow" --cov --cov-report=term:skip-covered

soak: setup
	$(BIN)/python -m pytest -m slow --timeout=7200

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup
	$(BIN)/mypy

check: lint types test

docs: setup
	$(BIN)/python docs/generate_commands.py

clean:
	rm -rf $(VENV) build
