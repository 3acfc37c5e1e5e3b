# Everything a newcomer needs: `make help`.
PYTHON ?= python3
BIN := .venv/bin
UV := .tools/bin/uv
ARGS ?=
PYTEST_ARGS ?=

# Certificates of the machine, so that it works behind a proxy of the company too.
export UV_SYSTEM_CERTS := 1
# Compiled once at installation, so that every start takes a second less.
export UV_COMPILE_BYTECODE := 1

.DEFAULT_GOAL := help
.PHONY: help venv ui ui-check demo serve test unit lint format bench chaos peers lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## (.*)/\1|\2/' | \
	  while IFS='|' read -r name text; do printf '  make %-8s %s\n' "$$name" "$$text"; done

.tools/.ready: requirements/uv.lock.txt
	@echo "installing uv into .tools"
	@$(PYTHON) -m venv .tools
	@.tools/bin/python -m pip install --quiet --require-hashes -r requirements/uv.lock.txt
	@touch $@

.venv/.ready: .tools/.ready requirements/lock.txt pyproject.toml sdk/python/pyproject.toml
	@echo "installing the locked dependencies into .venv (the first time downloads about 400 MB)"
	@test -x $(BIN)/python || $(UV) venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .venv
	@$(UV) pip sync --python $(BIN)/python --require-hashes requirements/lock.txt
	@echo "building the page and installing vedette and vedette-sdk"
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e . -e sdk/python
	@touch $@

venv: .venv/.ready ## build .venv from the hashed lock (the other targets call it)

ui: venv ## build the page when ui/ has changed
	@$(BIN)/python hatch_build.py

ui-check: ui
	@echo "checking the page: types and unit tests"
	@$(BIN)/python hatch_build.py --check

demo: ui ## watch a live chat application, fault and alert included (ARGS="--for 90s")
	@$(BIN)/vedette demo $(ARGS)

serve: ui ## start the server (ARGS="--config vedette.yml")
	@$(BIN)/vedette serve $(ARGS)

test: lint ui-check ## lint, then every test that this machine can run
	@$(BIN)/pytest -n 2 $(PYTEST_ARGS)

unit: venv ## only the quick tests
	@$(BIN)/pytest -n 2 -m "not acceptance and not browser and not peers and not postgres" $(PYTEST_ARGS)

lint: venv ## ruff, mypy --strict, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: venv ## let ruff format and mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: venv ## measure side by side with the peers (run `make peers` first)
	@$(BIN)/python -m bench $(ARGS)

chaos: ui ## maltreat a store (kill -9, full disk, damage) and count what was lost or doubled
	@$(BIN)/python -m bench.chaos $(ARGS)

peers: venv ## fetch Debian's prometheus, alertmanager, exporters, victoria-metrics into .peers
	@$(BIN)/python scripts/peers.py

lock: .tools/.ready ## refresh requirements/*.txt
	$(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet requirements/uv.in -o requirements/uv.lock.txt
	$(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet pyproject.toml sdk/python/pyproject.toml requirements/dev.in -o requirements/lock.txt

clean: ## remove what was built (not .peers)
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis src/vedette/web/static ui/node_modules
