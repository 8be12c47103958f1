# Start with `make demo` or `make test`. Everything is installed into .venv; only make and Python 3.11 are required, and
# servers for some of the tests. ARGS="..." is passed to the command of a target.

PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
LOWEST := .venv/lowest/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check
APT := RUNLEVEL=1 SYSTEMD_OFFLINE=1 DEBIAN_FRONTEND=noninteractive apt-get --yes --no-install-recommends -o Acquire::Retries=0

.DEFAULT_GOAL := help
.PHONY: help demo test test-lowest campaign servers strace prometheus prometheus-alertmanager chromium postgresql lint bench dashboards schemas clean

help:
	@echo 'make demo    copy real files through real stores, S3 and SQL (KEEP=1 serves the page until Ctrl-C)'
	@echo 'make test    run the tests with branch coverage'
	@echo 'make test-lowest   run the tests with the oldest version of each dependency'
	@echo 'make campaign   run the slow tests: interrupts at every instruction, kills at every system call'
	@echo 'make lint    run ruff, mypy and the import contracts'
	@echo 'make bench   compare the speed with that of peers'
	@echo 'make dashboards   rebuild the dashboards, the rules and their documents'
	@echo 'make schemas   rebuild the JSON Schemas of the events'
	@echo 'make clean   remove everything that the other targets created'

demo: .venv/.demo
	@$(BIN)/encore demo $(if $(KEEP),--keep-serving) $(ARGS)

test: .venv/.dev servers
	@$(BIN)/python -m pytest -q --numprocesses auto --maxprocesses 4 --dist worksteal --cov --cov-report=term $(ARGS)

test-lowest: .venv/.lowest servers
	@ENCORE_LOWEST=1 $(LOWEST)/python -m pytest -q --numprocesses auto --maxprocesses 4 --dist worksteal $(ARGS)

campaign: .venv/.dev strace
	@$(BIN)/python -m pytest -q --numprocesses auto --maxprocesses 4 --dist worksteal -o faulthandler_timeout=600 $(ARGS) tests/campaign

# Programs for the tests of dashboards, rules, page and clients. Their services are never started, not even at boot.
servers: prometheus prometheus-alertmanager chromium postgresql
prometheus: TOOL := promtool
prometheus-alertmanager: TOOL := amtool
chromium: TOOL := chromium
prometheus-alertmanager: | prometheus # one apt-get at a time
chromium: | prometheus-alertmanager
postgresql: TOOL := pg_ctlcluster
postgresql: | chromium
strace: TOOL := strace
prometheus prometheus-alertmanager chromium postgresql strace: | $(BIN)/python
	@command -v $(TOOL) >/dev/null || { \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null && echo 'Installing $@ for the tests ...' && \
		{ $(APT) install $@ || { $(APT) update && $(APT) install $@; }; } >/dev/null 2>&1 && \
		{ test ! -e /etc/init.d/$@ || update-rc.d $@ disable; }; \
	} || { \
		echo 'Tests that need $@ are skipped: install the package $@ (Debian, Ubuntu) to run them' >&2; \
		test "$$ENCORE_REQUIRE_SERVERS" != 1; \
	}

lint: .venv/.dev
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo >.venv/lint-imports.log || { cat .venv/lint-imports.log; exit 1; }

bench: .venv/.bench
	@$(BIN)/python -m benchmarks $(ARGS)

dashboards: .venv/.dev
	@$(BIN)/python -m dashboards.builder

schemas: .venv/.dev
	@$(BIN)/python -m encore_storage.codec.schemas docs/schemas

clean:
	rm -rf .venv build dist .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Installations, updated when pyproject.toml is newer. The project itself is editable.

.venv/.demo: $(BIN)/python pyproject.toml
	@echo 'Installing Encore into .venv ...'
	@$(PIP) 'pip>=25.1' # older versions do not support groups
	@$(PIP) --editable '.[all]' --group demo
	@touch $@

.venv/.dev: .venv/.demo
	@echo 'Installing the development tools into .venv ...'
	@$(PIP) --group dev
	@touch $@

.venv/.lowest: .venv/.dev
	@echo 'Installing the oldest version of each dependency into .venv/lowest ...'
	@$(BIN)/uv venv --quiet --clear --seed --python $(BIN)/python .venv/lowest
	@$(BIN)/uv pip install --quiet --python $(LOWEST)/python --resolution lowest-direct --editable '.[all]' --group dev
	@touch $@

.venv/.bench: .venv/.demo
	@echo 'Installing the peers of the benchmarks into .venv ...'
	@$(PIP) --group bench
	@touch $@

$(BIN)/python:
	@test -n '$(PYTHON)' || { echo 'Encore needs Python 3.11 or later, and none is on the PATH: install it, or set PYTHON=...' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Encore needs Python 3.11 or later; $(PYTHON) is " + sys.version.split()[0])'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		package=$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "Installing $$package, which $(PYTHON) needs to make a virtual environment ..."; \
			apt-get install --yes -qq $$package >/dev/null || { apt-get update -qq && apt-get install --yes -qq $$package >/dev/null; }; \
		else \
			echo "$(PYTHON) cannot make virtual environments: install the package $$package (Debian, Ubuntu) and try again" >&2; exit 1; \
		fi; }
	@$(PYTHON) -m venv --clear .venv
