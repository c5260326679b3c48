# Every target does its own set-up: see `make help`.
VENV ?= .venv
BIN := $(VENV)/bin
JOBS ?= auto

.PHONY: help demo test test-fast lint format tree clean
help:
	@echo "make demo    install laguna, fetch the starter model, and let it fix a failing test"
	@echo "make test    the whole test suite      make test-fast    without the slow part"
	@echo "make lint    ruff, mypy, import-linter make clean        remove what was built here"

# mypy and import-linter follow folders, not the package-dir mapping of pyproject.toml,
# so they look at the package through links.
tree:
	@rm -rf build/tree && mkdir -p build/tree/laguna_agent
	@for f in laguna_agent/* tools models prompts; do ln -s "$(CURDIR)/$$f" build/tree/laguna_agent/; done

lint: tree
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p laguna_agent
	cd build/tree && "$(abspath $(BIN))/lint-imports" --no-logo --config "$(CURDIR)/pyproject.toml"

format:
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
