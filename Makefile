# Farthing. `make` alone prints this help.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help install run test check lint format types imports proof attack bench bench-instructions peers scale matrix openapi prices clean

help: ## print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv/runtime: pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Farthing needs Python 3.11 or newer (PYTHON=/path/to/python3 make …)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --editable .
	@touch $@

.venv/dev: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --editable '.[dev,postgresql]'
	@touch $@ .venv/runtime

# Clients that tests run in environments of their own: their pins of the providers' SDKs are not ours.
CLIENTS := .venv/oldest/ready .venv/langchain/ready .venv/llamaindex/ready .venv/alibaba/ready

.venv/%/ready: tests/conformance/clients/%.txt | .venv/dev
	$(PYTHON) -m venv .venv/$*
	.venv/$*/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

JAVASCRIPT := tests/sdk/js/node_modules/.installed

$(JAVASCRIPT): tests/sdk/js/package.json
	@command -v npm >/dev/null || { echo "The JavaScript SDKs are tested with Node 20 or newer: install nodejs and npm" >&2; exit 1; }
	cd tests/sdk/js && npm install --no-package-lock --no-audit --no-fund --loglevel=error
	@cp $< $@

install: .venv/dev ## make .venv with everything that development needs

run: .venv/runtime ## install and start the gateway on http://127.0.0.1:8787 (SQLite, no account needed)
	$(BIN)/farthing serve

test: .venv/dev $(CLIENTS) $(JAVASCRIPT) ## install and run all tests
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --cov --cov-report=term

check: lint test ## everything that must be clean: format, lint, types, imports, tests

lint: .venv/dev ## format, lint, types and the direction of imports, without changing a file
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/dev ## format the code and mend what the linter can mend
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

SEED ?= 1
ROUNDS ?= 100

proof: .venv/dev ## try to break both engines, with a witness outside: SEED=1 ROUNDS=100
	$(BIN)/python -m scripts.proof --seed $(SEED) --rounds $(ROUNDS)

ATTACKS ?= 10000

attack: .venv/dev ## attack a real process behind a real nginx, with other people's clients: SEED=1 ATTACKS=10000
	FARTHING_ATTACKS=$(ATTACKS) FARTHING_ATTACK_SEED=$(SEED) $(BIN)/python -m pytest -q tests/attack

bench: .venv/dev ## measure: floor, Farthing and peers side by side in one run
	$(BIN)/python -m scripts.bench

AGAINST ?=

bench-instructions: .venv/dev ## count the CPU instructions of a call, under valgrind: AGAINST=<commit> to compare
	$(BIN)/python -m scripts.bench instructions $(if $(AGAINST),--against $(AGAINST))

peers: ## install the other gateways that the benchmark can run beside Farthing (LiteLLM, in build/)
	$(PYTHON) -m venv build/litellm
	build/litellm/bin/python -m pip install --quiet 'litellm[proxy]>=1.100,<2'

scale: .venv/dev ## measure a database of a million keys and a million events
	$(BIN)/python -m scripts.scale

matrix: .venv/dev $(CLIENTS) $(JAVASCRIPT) ## run the conformance matrix, and write it into docs/clients.md
	$(BIN)/python -m pytest -q tests/conformance/test_cells.py
	$(BIN)/python -m scripts.matrix --write

openapi: .venv/dev ## write the API's description, docs/openapi.json, and the clients that follow it
	$(BIN)/python -m gateway.api.openapi docs/openapi.json
	$(BIN)/python -m scripts.clients

prices: ## rebuild the price catalogue from its sources, and report where they disagree (build time only)
	$(PYTHON) -m venv build/prices
	build/prices/bin/python -m pip install --quiet 'genai-prices>=0.2,<0.3' 'msgspec>=0.20,<0.23'
	build/prices/bin/python -m pip download --quiet --no-deps --dest build/prices 'litellm>=1.100,<2'
	PYTHONPATH=. build/prices/bin/python scripts/build_prices.py --litellm build/prices/litellm-*.whl --report

clean: ## remove what was built; never a database
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage htmlcov
