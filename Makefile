# Every target does its own set-up: see `make help`.
VENV ?= .venv
BIN := $(VENV)/bin
# Test processes: one more than there are cores, since many tests wait for other processes.
JOBS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))
PYTEST := $(BIN)/pytest -n $(JOBS) --maxprocesses 8 --dist worksteal
STAMP := $(VENV)/.laguna-dev

.PHONY: help demo test test-slow starter llama-server lint format bench messages pictures architecture \
	configuration keys clean
help:
	@echo "make demo       install laguna, fetch the starter model, and let it fix a failing test"
	@echo "make test       run the test suite          make test-slow     longer tests, a real model"
	@echo "make lint       check style, types, imports make format        fix what ruff can fix"
	@echo "make bench      measure speed and memory    make architecture  draw the packages for docs/"
	@echo "make messages   list user-visible strings   make pictures      draw the README's pictures"
	@echo "make keys       write docs/keys.md"
	@echo "make clean      remove what was built here  make configuration write docs/configuration.md"

demo:
	./install.sh --demo

# Installs again when the dependencies change.
$(STAMP): pyproject.toml install.sh
	./install.sh --dev
	@touch $(STAMP)

test: $(STAMP)
	$(PYTEST) -m "not slow"

# The starter takes all cores, so its tests run one after the other.
test-slow: $(STAMP) starter llama-server
	$(PYTEST) -m "slow and not starter"
	$(BIN)/pytest -m starter

# Fetched before the tests, whose time is limited, into ~/.cache/laguna-tests.
starter: $(STAMP)
	@PYTHONPATH=tests $(BIN)/python -m support.starter

# Built once, into the same place, from the llama.cpp that is installed: some minutes.
llama-server: $(STAMP)
	@PYTHONPATH=tests $(BIN)/python -m support.llama_server

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p laguna_agent
	$(BIN)/basedpyright
	$(BIN)/lint-imports --no-logo
	$(BIN)/shellcheck install.sh .ci/run

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Each string that a user may see, to review them.
messages: $(STAMP)
	@$(BIN)/python tests/support/messages.py

# The pictures of the terminal interface in the README.
pictures: $(STAMP)
	$(BIN)/python tests/support/pictures.py

# The picture of the packages in docs/architecture.md, from the imports.
architecture: $(STAMP)
	$(BIN)/python tests/support/architecture.py

# The document about config.toml, from the models of laguna_agent/config.py.
configuration: $(STAMP)
	$(BIN)/python tests/support/configuration.py

# The document about keys and commands, from the interface's reference.
keys: $(STAMP)
	PYTHONPATH=tests $(BIN)/python tests/support/key_reference.py

bench: $(STAMP)
	$(BIN)/python -m benchmarks

# A .venv that is a link belongs elsewhere: only the link is removed.
clean:
	rm -rf build dist *.egg-info .coverage snapshot_report.html
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@if [ -L .venv ]; then rm .venv; else rm -rf .venv; fi
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
