# make demo   sets up .venv and runs the main job on real input
# make test   sets up .venv and runs lint, types, layer checks and every test
# Both need Python 3.11+ and make, nothing else.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo test check lint types layers pytest setup format properties clean

demo: setup
	$(BIN)/duroctl demo

test: check pytest

check: lint types layers

setup: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "duro needs Python 3.11 or newer; set one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $(STAMP)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

layers: setup
	$(BIN)/lint-imports

pytest: setup
	$(BIN)/python -m pytest

# The property tests with many more examples than `make test` takes time for.
properties: setup
	DURO_PROPERTY_EXAMPLES=5000 $(BIN)/python -m pytest tests/properties

# The default configuration, its schema and its reference page, from the table of settings.
generated: setup
	$(BIN)/python -m tests.generated

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info
