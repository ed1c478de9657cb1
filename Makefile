# Every target does its own set-up: `make demo` and `make test` are all one has to know.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

HARNESS := tests/harness
# Extra words for pytest and molecule, as in: make unit ARGS='-k engine -x'
ARGS ?=
SCENARIOS ?= default services logs

.PHONY: help setup mirror demo demo-stop test lint unit rules molecule bench lock lock-python dashboards docs clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## the Python environment (.venv) and the collections (.cache/collections)
	@$(HARNESS)/setup.sh

mirror: setup ## the test mirror (.cache/mirror): release archives made from Debian's packages
	@python $(HARNESS)/mirror.py build

demo: setup ## a throwaway host with the whole stack on it, and the table of what runs where
	@$(HARNESS)/demo.sh up

demo-stop: ## remove all that the demo made
	@$(HARNESS)/demo.sh stop

test: lint unit rules molecule ## lint, unit, rules and molecule, as CI runs them

lint: setup ## ruff, mypy, yamllint, ansible-lint, and whether the dashboards are as built
	@echo '==> lint'
	ruff check .
	ruff format --check .
	mypy
	yamllint --strict .
	ansible-lint --offline --profile production
	python -m files.dashboards.builders --check

unit: mirror ## pytest, with the real programs of the test mirror and of Debian
	@$(HARNESS)/programs.sh
	@echo '==> unit'
	pytest -n 2 $(ARGS)

rules: mirror ## alert rules and their tests through promtool
	@echo '==> rules'
	python tests/rules/run.py

molecule: setup ## real systemd hosts in Docker: converge, idempotence, faults, verify
	@echo '==> molecule'
	for scenario in $(SCENARIOS); do $(HARNESS)/molecule.sh "$$scenario" test $(ARGS); done

bench: mirror ## wall time and work at 1 to 1000 hosts; the health app under load; the dashboards' queries
	python tests/bench/run.py $(ARGS)
	python -m tests.bench.health_app
	python -m tests.bench.dashboards

lock: setup ## take checksums that upstream publishes into files/lock.yml (COMPONENT=name VERSION=x.y.z)
	ansible-playbook -i localhost, playbooks/lock.yml \
		$(if $(COMPONENT),-e watchkeeper_lock_component=$(COMPONENT)) $(if $(VERSION),-e watchkeeper_lock_version=$(VERSION))

lock-python: setup ## regenerate requirements/*.lock from pyproject.toml
	@$(HARNESS)/lock.sh

dashboards: setup ## regenerate files/dashboards/*.json from their builders
	@python -m files.dashboards.builders

docs: setup ## regenerate the generated parts of docs/
	@for script in docs/generate_*.py; do echo "==> $$script"; python "$$script"; done

clean: demo-stop ## remove the environment and all caches (Docker images stay)
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .ansible
