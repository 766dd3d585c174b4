# Everything from `python3` (3.11 or later) and `make`. A target that needs an environment builds
# it first; nothing is built twice. Longer steps are in scripts/.

MAKEFLAGS += --no-builtin-rules
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# The interpreters are those of this machine; uv never downloads one.
export UV_PYTHON_DOWNLOADS := never

UV := .tools/uv-env/bin/uv
BIN := .venv/bin
# Workers of a test run: a number, or auto for several a core (tests/conftest.py).
JOBS ?= auto
NEWEST := 3.14
# Pages that are generated from code, each by its module in scripts/.
PAGES := settings_hot settings_page guarantees_page features_page trip_picture
# What tests need beyond Python: command:package, installed by `make system-packages` where missing.
SYSTEM_PACKAGES := redis-server:redis-server promtool:prometheus

-include infra/lambda-build.mk

##@ Use

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	    /^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile

.PHONY: demo
demo: .venv-demo/.installed ## Run the example handler over its event files
	@scripts/demo.sh .venv-demo/bin/python

.PHONY: test
test: setup ## Run every test, in parallel and random order, and the coverage gate
	@rm -f .coverage .coverage.*
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --cov --cov-report=json --cov-report=term:skip-covered $(ARGS)
	@$(BIN)/python scripts/coverage_gate.py coverage.json

.PHONY: test-floor
test-floor: .venv-floor/.installed ## Run the core's tests on Python 3.11 with the oldest dependencies
	.venv-floor/bin/python -m pytest -n $(JOBS) --dist worksteal tests/unit $(ARGS)

.PHONY: test-newest
test-newest: $(UV) ## Run the core's tests on the newest Python, 3.14, taken from Debian where missing
	@scripts/newest-python.sh $(UV) $(NEWEST) .tools/python-newest >/dev/null || \
	    { [ $$? -eq 3 ] && exit 0; exit 1; }; \
	$(MAKE) --no-print-directory .venv-newest/.installed && \
	.venv-newest/bin/python -m pytest -n $(JOBS) tests/unit $(ARGS)

##@ Develop

.PHONY: setup
setup: .venv/.installed .tools/sam/.installed ## Make the main environment, .venv, and install the SAM CLI

.PHONY: system-packages
system-packages: ## Install what tests need beyond Python (apt-get, where there is one)
	@scripts/system-packages.sh $(SYSTEM_PACKAGES)

.PHONY: check
check: .venv/.installed ## Everything that judges the code without running it
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/basedpyright
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/codespell
	@$(MAKE) --no-print-directory check-lock docs

.PHONY: check-lock
check-lock: $(UV)
	@scripts/lock.sh $(UV) --check

.PHONY: fmt
fmt: .venv/.installed ## Format the code and mend what the linter can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

.PHONY: docs
docs: .venv/.installed ## Build the documentation into site/, warnings as errors
	for page in $(PAGES); do $(BIN)/python -m scripts.$$page --check; done
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.PHONY: generate
generate: .venv/.installed ## Write the pages that are generated from code
	for page in $(PAGES); do $(BIN)/python -m scripts.$$page; done

.PHONY: dashboard-picture
dashboard-picture: .venv/.installed ## Draw docs/observability/dashboard.svg from a few minutes of real pollers
	$(BIN)/python -m scripts.dashboard_picture

.PHONY: docs-serve
docs-serve: .venv/.installed ## Serve the documentation while it is being written
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

.PHONY: bench
bench: .venv/.installed ## Measure against the budgets; writes the table in docs/performance.md
	$(BIN)/python -m benchmarks

.PHONY: soak
soak: .venv/.installed ## Run the tests that take minutes
	$(BIN)/python -m pytest -m soak $(ARGS)

.PHONY: mutants
mutants: .venv/.installed ## Change the core line by line and count what its unit tests notice
	$(BIN)/mutmut run $(ARGS)
	@$(BIN)/mutmut results

.PHONY: build
build: $(UV) ## Build the wheel and import it in a clean environment
	scripts/build.sh $(UV)

.PHONY: lock
lock: $(UV) ## Write requirements/*.txt again from pyproject.toml (ARGS=--upgrade for the newest)
	scripts/lock.sh $(UV) $(ARGS)

.PHONY: clean
clean: ## Remove what was built; environments stay (they are .venv*/ and .tools/)
	rm -rf build dist site mutants .aws-sam htmlcov coverage.json .coverage .coverage.* .hypothesis \
	    .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .queue-runtime
	find queue_runtime functions tests benchmarks docs -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# Environments. Each is as its lock file says, and made again when that file changes.

$(UV): requirements/uv.txt
	@scripts/bootstrap-uv.sh .tools/uv-env requirements/uv.txt
	@touch $@

.venv/.installed: requirements/dev.txt pyproject.toml | $(UV)
	@scripts/make-env.sh $(UV) .venv "" requirements/dev.txt --with-project

.venv-demo/.installed: requirements/demo.txt pyproject.toml | $(UV)
	@scripts/make-env.sh $(UV) .venv-demo "" requirements/demo.txt --with-project

.venv-floor/.installed: requirements/floor.txt pyproject.toml | $(UV)
	@scripts/make-env.sh $(UV) .venv-floor 3.11 requirements/floor.txt --with-project

.venv-newest/.installed: requirements/dev.txt pyproject.toml | $(UV)
	@scripts/make-env.sh $(UV) .venv-newest $(NEWEST) requirements/dev.txt --with-project

# Apart, because the SAM CLI's exact pins suit no other environment.
.tools/sam/.installed: requirements/sam.txt | $(UV)
	@scripts/make-env.sh $(UV) .tools/sam "" requirements/sam.txt
