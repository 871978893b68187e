# Everything that a person or a machine does with this checkout. `make help` lists it.
# Recipes go through .venv/bin, so no environment needs to be activated.

SHELL := bash
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.nightjar-setup
LOCK := requirements/lock.txt
PYTHON_VERSION ?= 3.11

.PHONY: help setup java nightly test test-slow lint bench up down doctor lock clean compose-env airflow

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: java $(STAMP) ## Install everything into .venv; does nothing where nothing has changed

java:
	@bash .ci/java

$(STAMP): $(LOCK) setup.cfg pyproject.toml | java
	@bash .ci/setup $(VENV) $(PYTHON_VERSION)
	@touch $@

nightly: setup ## One night end to end; takes DS= MAPPING= SOURCE= MARKET= USERS= DAYS=
	@$(BIN)/nightjar nightly $(if $(DS),--ds $(DS)) $(if $(MAPPING),--mapping $(MAPPING)) \
	  $(if $(SOURCE),--source $(SOURCE)) $(if $(MARKET),--market $(MARKET)) $(if $(USERS),--users $(USERS)) $(if $(DAYS),--days $(DAYS))

test: setup ## The fast tests
	$(BIN)/python -m pytest -m "not slow" -n 2 tests

test-slow: setup ## The campaigns that make test leaves out
	$(BIN)/python -m pytest -m slow tests

lint: setup ## Style and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: setup ## Benchmarks, for a person to read; takes BENCH="features medium"
	$(BIN)/python -m bench $(BENCH)

up: setup ## Start PostgreSQL, Spark, MLflow and Airflow; prints their addresses and the login
	@$(BIN)/nightjar up

down: ## Stop them
	@if [ -x $(BIN)/nightjar ]; then $(BIN)/nightjar down; fi

doctor: ## Say what is missing on this machine, and how to mend it
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m jobs.doctor; else python3 -m jobs.doctor; fi

airflow: ## A command of this installation's Airflow: make airflow ARGS="dags list"
	@$(BIN)/python -c 'import os, sys; from jobs.services.airflow import airflow_env; \
	  os.execvpe("airflow", ["airflow", *sys.argv[1:]], airflow_env())' $(ARGS)

compose-env: ## Write .env with random passwords and keys for docker-compose.yml
	@python3 -m jobs.compose_env

lock: ## Renew the lock file from setup.cfg; needs uv
	uv pip compile setup.cfg --extra dev --universal --python-version 3.11 \
	  --override requirements/overrides.txt --generate-hashes --no-header --quiet -o $(LOCK)

clean: down ## Stop the services, and remove environments and caches; keeps .nightjar, which holds data
	rm -rf $(VENV) build .pytest_cache .ruff_cache .hypothesis *.egg-info
