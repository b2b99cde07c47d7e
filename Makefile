# Everything a newcomer or CI runs. `make` alone lists the targets.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test lint check bench venv lock clean

help:  ## List the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

# The lock files are installed by hash and nothing else is resolved or downloaded.
$(VENV)/.run: requirements.txt pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "Moorage needs Python 3.11 or later: make PYTHON=python3.12 ..."; exit 2; }
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

demo: $(VENV)/.run  ## Ask for an environment, use it and delete it, on a stack of its own (KEEP=1 leaves it up)
	@$(BIN)/python -m embedded.demo $(if $(KEEP),--keep)

test: $(VENV)/.dev  ## All tests that need nothing but this machine
	$(BIN)/pytest $(ARGS)

lint: $(VENV)/.dev  ## Style, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

check: lint test  ## Both

bench: $(VENV)/.dev  ## Measure, against the floor, in one run (ARGS=--help for choices)
	@$(BIN)/python -m benchmarks $(ARGS)

venv: $(VENV)/.dev  ## Make .venv with everything for development

lock:  ## Lock the dependencies anew: names, versions and hashes, no addresses (needs uv)
	uv pip compile -q pyproject.toml --extra build --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --python-version 3.11 -o requirements.txt
	uv pip compile -q pyproject.toml --extra build --extra dev -c requirements.txt --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --python-version 3.11 -o requirements-dev.txt

clean:  ## Remove what make has made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
