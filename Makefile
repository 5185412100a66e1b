# `make help` lists the targets. Python packages are installed into .venv, from the lock files.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run models test unit matrix torture bench fuzz soak lint format lock clean

VENV := .venv
PYTHON_FITS := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
# Compiling what is imported when it is imported is quicker than compiling everything.
PIP_INSTALL := $(VENV)/bin/python -m pip install -qq --disable-pip-version-check --no-compile
# The lock files hold every package, so pip resolves nothing: its resolver leaves a pin for a release that is newer
# than the lock where a package asks for another's extra. `pip check` tells what a lock file lacks.
INSTALL_LOCKED := $(PIP_INSTALL) --no-deps --require-hashes -r
PIP_CHECK := $(VENV)/bin/python -m pip --disable-pip-version-check check --quiet
CLIENTS := tests/support/clients

help:  ## list the targets
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

run: $(VENV)/.runtime  ## install what is missing and start everything in one process
	@exec $(VENV)/bin/roomcast up

models: $(VENV)/.models  ## install what it takes to ask OpenAI, Anthropic and Google, and compatible servers

WORKERS := 3
test:  ## install what is missing, check and test everything, WORKERS=3 at a time
	@$(MAKE) --no-print-directory --jobs $(VENV)/.dev $(CLIENTS)/node_modules/.installed
	@$(MAKE) --no-print-directory --jobs=2 --keep-going lint pytest

.PHONY: pytest
pytest: $(VENV)/.dev $(CLIENTS)/node_modules/.installed
	$(VENV)/bin/pytest -n $(WORKERS) --dist worksteal --cov --cov-report=term --cov-fail-under=90

unit: $(VENV)/.dev  ## run the tests that need no servers
	$(VENV)/bin/pytest tests/unit -n $(WORKERS) --dist worksteal

SECONDS := 600
matrix: $(VENV)/.dev test-servers  ## test each kind of fault under load
	$(VENV)/bin/pytest -m matrix tests/chaos tests/endurance tests/e2e -s

torture: $(VENV)/.dev test-servers  ## kill, cut and freeze everything under load (SECONDS=600 SEED=… FREEZES=1)
	@cd tests && exec ../$(VENV)/bin/python -m chaos --seconds $(SECONDS) $(if $(SEED),--seed $(SEED)) $(if $(FREEZES),--freezes)

ROUNDS := 3
bench: $(VENV)/.dev test-servers  ## measure beside python-socketio and Node (ROUNDS=3, ONLY=row,row)
	@exec $(VENV)/bin/python -m bench --rounds $(ROUNDS) $(if $(ONLY),--only $(ONLY))

INPUTS := 100000
fuzz: $(VENV)/.dev test-servers  ## send INPUTS=100000 frames and requests of nonsense to a gateway, of SEED=…
	@cd tests && exec ../$(VENV)/bin/python -m endurance.fuzz --inputs $(INPUTS) $(if $(SEED),--seed $(SEED))

soak: SECONDS := 1800
soak: $(VENV)/.dev test-servers  ## churn sockets and rooms for SECONDS=1800, and see what is left behind
	@cd tests && exec ../$(VENV)/bin/python -m endurance.soak --seconds $(SECONDS)

lint: $(VENV)/.dev  ## check style, types, and who imports whom
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/mypy

format: $(VENV)/.dev  ## rewrite the code in the project's style
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

clean:  ## remove what was installed and generated (data in .roomcast stays)
	rm -rf $(VENV) $(CLIENTS)/node_modules bench/node/node_modules bench/results .mypy_cache .ruff_cache .import_linter_cache .pytest_cache .hypothesis .coverage* dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- Python packages ---------------------------------------------------------------------------------------

$(VENV)/bin/python:
	@for python in $${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do \
		if command -v "$$python" >/dev/null && "$$python" -c '$(PYTHON_FITS)' 2>/dev/null; then \
			echo "Making $(VENV) with $$("$$python" --version)"; \
			exec "$$python" -m venv --clear $(VENV); \
		fi; \
	done; \
	echo 'Roomcast needs Python 3.11 or newer with its venv module; none was found.' >&2; \
	echo 'On Debian or Ubuntu: apt-get install python3 python3-venv' >&2; \
	echo 'Elsewhere: install it, or name it: make PYTHON=/path/to/python3 ...' >&2; \
	exit 1

$(VENV)/.runtime: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo 'Installing the locked packages into $(VENV) (once)'
	@$(INSTALL_LOCKED) requirements.lock
	@$(PIP_CHECK)
	@$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

# Each set holds the one before it, at the same versions: runtime, models, development.
$(VENV)/.models: requirements-models.lock $(VENV)/.runtime
	@echo 'Installing the locked packages of the model providers into $(VENV) (once)'
	@$(INSTALL_LOCKED) requirements-models.lock
	@$(PIP_CHECK)
	@touch $@

$(VENV)/.dev: requirements-dev.lock requirements-models.lock requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo 'Installing the locked development packages into $(VENV) (once)'
	@$(INSTALL_LOCKED) requirements-dev.lock
	@$(PIP_CHECK)
	@$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $(VENV)/.runtime $(VENV)/.models $@

# Exact versions with hashes. `make lock UPGRADE=--upgrade` takes newer ones. What this machine's pip is set up
# with stays out of it. redis asks for async-timeout before Python 3.11.3, which Debian 12 has.
COMPILE = PIP_CONFIG_FILE=/dev/null PIP_FIND_LINKS= PIP_EXTRA_INDEX_URL= $(VENV)/bin/pip-compile --quiet $(UPGRADE) \
	--generate-hashes --strip-extras --allow-unsafe --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options
REQUIREMENTS = $(VENV)/bin/python -c 'import sys, tomllib; project = tomllib.load(open("pyproject.toml", "rb")); \
	names = [*project["project"]["dependencies"], "async-timeout>=4.0.3"]; \
	groups = project["dependency-groups"] | project["project"]["optional-dependencies"]; \
	print(*names, *(name for group in sys.argv[1:] for name in groups[group]), sep="\n")'
PROVIDERS := anthropic google openai

lock: $(VENV)/.dev  ## write the lock files anew from pyproject.toml
	$(REQUIREMENTS) build | $(COMPILE) --output-file requirements.lock -
	$(REQUIREMENTS) build $(PROVIDERS) | $(COMPILE) --constraint requirements.lock --output-file requirements-models.lock -
	$(REQUIREMENTS) build $(PROVIDERS) dev | $(COMPILE) --constraint requirements-models.lock --output-file requirements-dev.lock -

# --- what the tests need beside Python -----------------------------------------------------------------------

.PHONY: test-servers
test-servers:
	@export PATH="$$PATH:/usr/sbin:/usr/local/sbin"; missing=(); \
	for each in rabbitmq-server:rabbitmq-server redis-server:redis-server node:nodejs npm:npm; do \
		command -v "$${each%%:*}" >/dev/null || missing+=("$${each##*:}"); \
	done; \
	if [ $${#missing[@]} -eq 0 ]; then exit 0; fi; \
	if [ "$$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing $${missing[*]}"; \
		apt-get update -qq; \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "$${missing[@]}" >/dev/null; \
	else \
		echo "The tests need programs that are not installed. On Debian or Ubuntu:" >&2; \
		echo "  sudo apt-get install $${missing[*]}" >&2; \
		exit 1; \
	fi

$(CLIENTS)/node_modules/.installed: $(CLIENTS)/package.json $(CLIENTS)/package-lock.json | test-servers
	@echo 'Installing the JavaScript clients of the tests (once)'
	@npm ci --prefix $(CLIENTS) --no-audit --no-fund --silent
	@touch $@
