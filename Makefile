# `make demo` and `make test` are all a newcomer needs: each makes .venv first, from the fully pinned requirements.lock.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PY := .venv/bin/python
PROCESSES ?= 2
CLIENTS := openai-cli litellm dspy instructor lm-eval node

export HF_HUB_DISABLE_TELEMETRY = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help demo case-study test test-slow clients package check format schema docs bench bench-serve lock clean

help:  ## say what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | while IFS=$$'\t' read -r name what; do printf '  make %-10s %s\n' "$$name" "$$what"; done

# The first Python that is new enough and can make an environment; a shim that leads nowhere is passed over.
.venv/.installed: requirements.lock pyproject.toml
	@if [ ! -x $(PY) ]; then \
	  for python in $${PYTHON:-} python3.11 python3.12 python3.13 python3; do \
	    if "$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	      echo "Making .venv with $$("$$python" --version)"; "$$python" -m venv .venv; break; \
	    fi; \
	  done; \
	  [ -x $(PY) ] || { echo "Luthier needs Python 3.11 or newer with its venv module (on Debian: apt install python3 python3-venv). Install one, or say where it is: make PYTHON=/path/to/python3.11" >&2; exit 1; }; \
	fi
	@echo "Installing what requirements.lock pins (the first time about two minutes)"
	@$(PY) -m pip install -qq --requirement requirements.lock
	@$(PY) -m pip install -qq --no-deps --no-build-isolation --editable .
	@touch $@

demo: .venv/.installed  ## the whole loop on the bundled model: tune, rank, reward model, PPO; and what it brought
	@.venv/bin/luthier demo

case-study: .venv/.installed  ## demonstrations, rankings, reward models, PPO and DPO on the loan-support data, three seeds
	@$(PY) -W ignore -m luthier.recipes.case_study.study runs/case-study

test: .venv/.installed  ## the test suite, without the network
	$(PY) -m pytest -n $(PROCESSES) -q

test-slow: .venv/.installed clients  ## the tests that take longer, but for packaging
	$(PY) -m pytest -n $(PROCESSES) -q -m slow --ignore tests/test_package.py

clients: $(CLIENTS:%=.venv-clients/%/.installed)  ## an environment for each program of others' that is tried against the server

# What cannot be installed here (no network, no Node) leaves no stamp: its tests say so and are skipped.
.venv-clients/node/.installed: tests/clients/node/package-lock.json
	@rm -f $@; mkdir -p $(@D); cp tests/clients/node/package.json $< $(@D)
	@echo "Installing OpenAI's Node SDK"; npm ci --prefix $(@D) --no-audit --no-fund --silent && touch $@ || echo "It could not be installed: its test is skipped"

.venv-clients/%/.installed: tests/clients/requirements-%.txt | .venv/.installed
	@rm -f $@; $(PY) -m venv $(@D)
	@echo "Installing $*"; $(@D)/bin/python -m pip install -qq --no-compile --retries 2 --requirement $< && touch $@ || echo "It could not be installed: its tests are skipped"

package: .venv/.installed  ## build the wheel and install it into a clean environment (needs a package registry)
	$(PY) -m pytest -q -m slow tests/test_package.py

check: .venv/.installed  ## format, lint, types, architecture
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	$(PY) -m pytest -q tests/test_architecture.py

format: .venv/.installed  ## put the code into its format
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

schema: .venv/.installed  ## write spec/schema.json and the reference pages from the sources
	$(PY) -m luthier.spec.schema
	$(PY) -m luthier.spec.reference

docs: schema .venv/.installed  ## the reference pages, and a check of everything the documents say
	$(PY) -m pytest -q tests/test_docs.py

bench: .venv/.installed  ## measure against the peers, side by side, and draw the figure
	$(PY) -m benchmarks.run
	$(PY) -m benchmarks.inside
	$(PY) -m benchmarks.plan_error

bench-serve: .venv/.installed  ## the server under load beside transformers' own, over loopback
	$(PY) -m benchmarks.serving

lock:  ## write requirements.lock from what is installed in .venv
	@{ echo "# Everything that demo, tests and checks stand on, pinned. Written by \`make lock\` from a tested environment."; \
	   $(PY) -m pip freeze --exclude-editable --exclude luthier | sed -E 's/^(torch==[^+]+)\+.*/\1/'; } > requirements.lock.new
	@! grep -nE ' @ |^-e|file:' requirements.lock.new || { echo "These were installed from a file; install them from a registry first." >&2; rm requirements.lock.new; exit 1; }
	@mv requirements.lock.new requirements.lock && touch .venv/.installed && wc -l requirements.lock

clean:  ## remove what can be made again: the environment, caches, builds (runs/ stays)
	rm -rf .venv .venv-clients build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
