# Everything a newcomer or CI runs. `make` alone lists the targets.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
# Without bytecode, each of the processes that the tests start would compile all of it.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help demo ui storm cluster cluster-down e2e keycloak bench-host image e2e-chart test slow quick chaos lint docs reference check bench scale temporal-postgres lifecycle-postgres venv lock package outdated wheels clean

help:  ## List the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

SOURCES := contracts workflows activities clients worker starter embedded moorage.py

# What was installed without its dependencies has them all, each in a version that it takes.
CHECK = $(BIN)/pip check --disable-pip-version-check || { echo "$(VENV) does not fit the lock files: make clean, then again"; exit 1; }

# The lock files are installed by hash and nothing else is resolved or downloaded.
# pip compiles one file after another, for four fifths of its time. Like pip, ignore what cannot be compiled.
BYTECODE = $(BIN)/python -W ignore -m compileall -qq -j 0 $(VENV)/lib || true

$(VENV)/.run: requirements.txt pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "Moorage needs Python 3.11 or later: make PYTHON=python3.12 ..."; exit 2; }
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-compile --require-hashes -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-compile --no-build-isolation -e .
	$(BYTECODE)
	@# With the packages for development, which may be of an older lock, it is checked once they are in line, below.
	test -e $(VENV)/.dev || $(CHECK)
	@# Where Python must not write bytecode, each of the stack's processes would compile all of it.
	$(BIN)/python -m compileall -q $(SOURCES)
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-compile --require-hashes -r requirements-dev.txt
	$(BYTECODE)
	$(CHECK)
	@touch $@

demo: $(VENV)/.run  ## Ask for an environment, use it and delete it (KEEP=1 leaves it up; HOST=cluster: a real one)
	@$(BIN)/python -m $(if $(filter cluster,$(HOST)),tests.e2e.demo,embedded.demo $(if $(KEEP),--keep))

# What needs more than this machine, or has another target.
ELSEWHERE := not e2e and not chart and not chaos and not keycloak and not ui and not postgres

test: $(VENV)/.dev  ## The tests that need nothing but this machine, without the slow ones: five minutes
	$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder -m "not slow and $(ELSEWHERE)" $(ARGS)

slow: $(VENV)/.dev  ## The slow ones: whole lives, faults, outages, upgrades, the runbook, on real stacks; with `make test`, all
	$(BIN)/pytest -n 6 --dist loadfile --no-loadscope-reorder -m "slow and $(ELSEWHERE)" $(ARGS)

quick: $(VENV)/.dev  ## Those of `make test` that start no stack (PYTHON=python3.12 VENV=.venv-3.12: on another Python)
	$(BIN)/pytest -n 4 --dist loadfile -m "not slow and not stack and $(ELSEWHERE)" $(ARGS)

chaos: $(VENV)/.dev  ## Do the worst to running stacks, and write the results to docs/reference/chaos-results.md
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m guarantee --timeout 300 -p tests.chaos.report --guarantees docs/reference/chaos-results.md tests/chaos tests/lifecycle $(ARGS)

storm: $(VENV)/.dev  ## The quick part of chaos: many lives at once, drawn sequences, terminated workflows
	TEST_STORM=$${TEST_STORM:-100} $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m chaos tests/chaos/test_storm.py tests/chaos/test_state_machine.py tests/chaos/test_terminated.py tests/workflows/test_expiry.py $(ARGS)

ui: $(VENV)/.dev  ## The developers' page in a real Chromium (TEST_SCREENSHOTS=FOLDER writes what it shows)
	$(BIN)/pytest -n 2 --dist loadfile -m ui tests/ui $(ARGS)

cluster:  ## A real Kubernetes of one node, from nothing (Linux, root); see tests/cluster/README.md
	@$(PYTHON) tests/cluster up

cluster-down:  ## End it; what was built stays in the cache
	@$(PYTHON) tests/cluster down

e2e: $(VENV)/.dev  ## Environments on a real cluster: that of TEST_E2E_KUBECONFIG, or the one of `make cluster`
	$(BIN)/pytest -m e2e tests/e2e $(ARGS)

image: $(VENV)/.dev  ## The image of the Dockerfile without Docker, with its SBOM and provenance, in build/image (Debian, root, buildah)
	@$(BIN)/python -m tools.image $(ARGS)

e2e-chart: image  ## The Helm chart with that image on the cluster of `make cluster`: install, use, upgrade, roll back, uninstall
	$(BIN)/pytest -m chart tests/chart $(ARGS)

keycloak: $(VENV)/.dev  ## Sign-in and groups on a real Keycloak (needs Java 17 and Maven; see tools/keycloak)
	$(BIN)/pytest -m keycloak tests/keycloak $(ARGS)

temporal-postgres: $(VENV)/.dev  ## Temporal on PostgreSQL, as docker-compose.yml has it (ARGS=down ends it)
	@$(BIN)/python -m tools.temporal_postgres $(or $(ARGS),up)

lifecycle-postgres: $(VENV)/.dev  ## On that Temporal: the lifecycle tests with three workers, versions, a storm
	@$(BIN)/python -m tools.temporal_postgres build
	TEST_TEMPORAL=postgres TEST_WORKERS=3 $(BIN)/pytest -n 2 --dist loadfile -m "not chaos" tests/lifecycle tests/postgres tests/worker/test_compose.py $(ARGS)

bench-host: $(VENV)/.dev  ## Request to usable on a real cluster, beside `vcluster create`, alternating
	@$(BIN)/python -m benchmarks.host $(ARGS)

lint: $(VENV)/.dev  ## Style, words, types, who may import whom, docker-compose.yml and Dockerfile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m tools.words
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/hadolint Dockerfile

docs: $(VENV)/.dev  ## Build the documentation site into build/site, strictly and without a network
	$(BIN)/python -m tools.reference --check
	@# Material for MkDocs prints a notice about another project at each build.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@# Readers without the internet see the same pages, and no other host learns who reads them.
	@! grep -rE --include='*.html' '<(script|img|iframe)[^>]* src="?https?:|<link[^>]* rel="?(stylesheet|preconnect)"?[^>]* href="?https?:|<link[^>]* href="?https?:[^>]* rel="?(stylesheet|preconnect)' build/site || { echo "the site loads something from another host"; exit 1; }

reference: $(VENV)/.dev  ## Rewrite the generated parts of docs/reference (settings, commands, problem types)
	@$(BIN)/python -m tools.reference

check: lint docs test  ## All three

scale: $(VENV)/.dev  ## Measure what thousands of open environments cost, and write docs/reference/scale-results.md
	@$(BIN)/python -m benchmarks.scale $(ARGS)

bench: $(VENV)/.dev  ## Measure, against the floor, and write docs/reference/benchmark-results.md (ARGS=--help for choices)
	@$(BIN)/python -m benchmarks $(ARGS)

venv: $(VENV)/.dev  ## Make .venv with everything for development

# Of each extra that is installed by hash: the checkout, the image of the servers, and development.
COMPILE = uv pip compile -q pyproject.toml --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --universal --python-version 3.11

lock:  ## Lock the dependencies again: names, versions and hashes, no addresses (needs uv)
	$(COMPILE) --extra build --extra embedded -o requirements.txt
	$(COMPILE) --extra build --extra server -c requirements.txt -o requirements-server.txt
	$(COMPILE) --extra build --extra embedded --extra dev -c requirements.txt -o requirements-dev.txt

package: $(VENV)/.run  ## Build the wheel into build/package: the command line, and the rest as extras
	@# What setuptools has left there would get into the wheel, also modules that are gone.
	rm -rf build/lib build/bdist.* build/package
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir build/package .

outdated: $(VENV)/.dev  ## List what of all pins has a newer release (ARGS=--json for programs)
	@$(BIN)/python -m tools.outdated $(ARGS)

wheels: $(VENV)/.dev  ## Download the wheels of every locked package for every Python and system
	@$(BIN)/python -m tools.wheel_check $(ARGS)

clean:  ## Remove what make has made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build *.egg-info
