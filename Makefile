# Everything below works on a fresh machine with Python 3.11 (or newer), make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
SHELL := /bin/sh
.DELETE_ON_ERROR:
.PHONY: setup demo test check lint types rooms unit lab sites bench clean lock wheel-check properties fuzz kill-anywhere prove-gates faults judge

setup: $(STAMP)

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: apt-get install python3.11 python3.11-venv"; exit 1; }
	@command -v git >/dev/null || { echo "git is needed: apt-get install git"; exit 1; }
	@command -v bash >/dev/null || { echo "bash is needed: apt-get install bash"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "the venv module is needed: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/python -m compileall -q orchestrator phases inventory lab
	@touch $@

demo: setup
	$(BIN)/bootstrap rehearse

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadgroup

unit: setup
	$(BIN)/python -m pytest tests/unit tests/cases tests/contract -n 2 --dist loadgroup

lab: setup
	$(BIN)/python -m pytest tests/lab -n 2 --dist loadgroup

# Every example site, from blank machines to its end.
sites: setup
	$(BIN)/python -m pytest tests/lab/test_sites.py -m 'long or lab' -n 2

check: lint types rooms

lint: setup
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

rooms: setup
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python -m bench

# The promises of docs/guarantees.md at full length; `make test` takes seeded samples of them. Each prints its counts.
properties: setup
	$(BIN)/python -m tests.proof.properties --cases 100000 --shards 2

fuzz: setup
	$(BIN)/python -m tests.proof.fuzz --cases 100000

kill-anywhere: setup
	$(BIN)/python -m tests.proof.kill_anywhere

# Every gate, goal and judge of every example site, its answers broken field by field: none that cannot fail.
prove-gates: setup
	$(BIN)/python -m tests.proof.prove_gates

# The whole fault catalogue, then fifty seeds of `rehearse --faults random`.
faults: setup
	$(BIN)/python -m tests.faults.run --seeds 50

# A real control plane, built from source by Go, beside the lab's own: docs/judge.md. ARGS="--until network@infra" makes it shorter.
judge: setup
	$(BIN)/python -m tests.judge.build
	$(BIN)/python -m tests.judge.run $(ARGS)

# The wheel, installed alone into an empty environment, rehearses from there.
wheel-check: setup
	rm -rf dist build/wheel && mkdir -p build
	$(BIN)/python -m build --wheel --no-isolation --outdir dist . >/dev/null
	$(PYTHON) -m venv build/wheel
	build/wheel/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	build/wheel/bin/python -m pip install --quiet --disable-pip-version-check --no-deps dist/*.whl
	cd build && PATH="$$(pwd)/wheel/bin:$$PATH" wheel/bin/bootstrap rehearse --until preflight

diagrams: setup
	PYTHONPATH=. $(BIN)/python docs/states.py

# New pins with hashes. No index is named: pip's own configuration decides.
lock: setup
	$(BIN)/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-emit-index-url --custom-compile-command "make lock" pyproject.toml --extra dev -o requirements/dev.txt
	$(BIN)/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-emit-index-url --custom-compile-command "make lock" pyproject.toml -c requirements/dev.txt -o requirements/run.txt

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
