# make demo   sets up .venv and runs the main job on real input
# make test   sets up .venv and runs lint, types, layer checks and every test
# Both need Python 3.11+ and make, nothing else.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
comma  := ,
STAMP  := $(VENV)/.installed

.PHONY: demo test check lint types layers pytest setup format properties families fuzz kill soak power-loss simulate simulate-planted faults operators coverage mutants bench bench-pruning bench-families bench-operating generated clean

demo: setup
	$(BIN)/duroctl demo

test: check pytest

check: lint types layers

setup: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "duro needs Python 3.11 or newer; set one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $(STAMP)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

layers: setup
	$(BIN)/lint-imports

# The tests that start programs mostly wait for them: the others run meanwhile. What those print comes at the end. (A shell
# lets what runs beside it ignore SIGINT, and some of them are about Ctrl-C.)
pytest: setup
	@$(BIN)/python -c "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); \
	os.execv(sys.executable, [sys.executable, '-m', 'pytest', '-p', 'no:cacheprovider', 'tests/e2e'])" \
	> $(VENV)/e2e.txt 2>&1 & programs=$$!; \
	$(BIN)/python -m pytest --ignore tests/e2e; others=$$?; \
	wait $$programs; programs=$$?; cat $(VENV)/e2e.txt; \
	exit $$((others ? others : programs))

# The property tests with DURO_PROPERTY_EXAMPLES of each: many more than `make test` takes time for.
DURO_PROPERTY_EXAMPLES ?= 10000
properties: setup
	DURO_PROPERTY_EXAMPLES=$(DURO_PROPERTY_EXAMPLES) $(BIN)/python -m pytest tests/properties

# Random families against a model of who may still observe whom: DURO_FAMILIES of them (`make test` has 300).
DURO_FAMILIES ?= 10000
families: setup
	DURO_FAMILIES=$(DURO_FAMILIES) $(BIN)/python -m pytest tests/properties/test_families.py

# Configuration, arguments, plan files, histories and payloads of any kind: DURO_FUZZ_EXAMPLES of each (`make test`: 100).
DURO_FUZZ_EXAMPLES ?= 10000
fuzz: setup
	DURO_FUZZ_EXAMPLES=$(DURO_FUZZ_EXAMPLES) $(BIN)/python -m pytest tests/properties tests/unit/test_redacting.py -k 'fuzz or redacting'

# Worker processes killed at random moments under load: DURO_KILLS times (`make test` has a short form).
DURO_KILLS ?= 200
kill: setup
	$(BIN)/python -m tests.support.campaign --kills $(DURO_KILLS)

# Workers, operators and clients at once, DURO_FAULTS of them killed, stopped or under a clock that is set (`make test`
# has a short form).
DURO_FAULTS ?= 200
operators: setup
	$(BIN)/python -m tests.support.operating --faults $(DURO_FAULTS)

# Branch coverage of the whole suite: the table, and an error below 95 % in all or 100 % of what decides and removes.
PROVEN := runtime/duro/replay/*,runtime/duro/retention/*,runtime/duro/model/*,runtime/duro/maintenance/pruning.py
PROVEN := $(PROVEN),runtime/duro/maintenance/families.py,runtime/duro/maintenance/archive/*
PROVEN := $(PROVEN),$(subst $() ,$(comma),$(foreach part,turns turn_pruning pruning families reclaiming archiving ledger ending,runtime/duro/stores/sqlite/$(part).py))
coverage: setup
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	$(BIN)/coverage report --fail-under 100 --include '$(PROVEN)'

# Small mistakes in the modules that have MODULE in their path (retention/plan; all of tests/support/mutation/targets.py):
# those that no test notices are printed.
mutants: setup
	$(BIN)/python -m tests.support.mutation $(MODULE)

# Mixed work for DURO_SOAK_SECONDS (`make test` has a short form): memory, descriptors, threads and WAL stay flat.
DURO_SOAK_SECONDS ?= 1800
soak: setup
	$(BIN)/python -m tests.support.soak --seconds $(DURO_SOAK_SECONDS)

# A cut of power at every operation of every scenario: DURO_POWER_STATES states of the disk (`make test` has a short form).
DURO_POWER_STATES ?= 1000000
power-loss: setup
	$(BIN)/python -m tests.support.power --states $(DURO_POWER_STATES)

# The whole runtime on DURO_SEEDS seeded schedules with faults, from DURO_SEED on (`make test` has a short form).
DURO_SEEDS ?= 100000
DURO_SEED ?= 0
simulate: setup
	$(BIN)/python -m tests.support.simulated --seeds $(DURO_SEEDS) --seed $(DURO_SEED)

# The test of that test: with how many seeds it finds each planted mistake, 500 at most.
simulate-planted: setup
	$(BIN)/python -m tests.support.simulated --planted

# Each system call of every scenario fails, once and for good (`make test` has a short form). FAULTS_RUNS=1000: so many
# of each scenario, by chance.
faults: setup
	$(BIN)/python -m tests.support.faults $(if $(FAULTS_RUNS),--runs $(FAULTS_RUNS))

# duro beside its peers (docs/performance.md): QUICK=1 without the peers, ONLY=W1,W4 some workloads, ROUNDS=5 more rounds.
PEERS := benchmarks/.peers
ROUNDS ?= 3
bench: setup $(if $(QUICK),,$(PEERS)/.installed)
	$(BIN)/python -m benchmarks.run --only '$(ONLY)' $(if $(QUICK),--rounds 1 --systems duro$(comma)limit,--rounds $(ROUNDS)) \
	  $(if $(QUICK)$(ONLY),,--write docs/performance.md)

# What pruning costs and how fast it is (docs/pruning.md). QUICK=1: small, and without the peer.
bench-pruning: setup $(if $(QUICK),,$(PEERS)/.installed)
	$(BIN)/python -m benchmarks.pruning --only '$(ONLY)' $(if $(QUICK),--quick --rounds 1,--rounds $(ROUNDS)) \
	  $(if $(QUICK)$(ONLY),,--write docs/pruning.md)

# What finding and removing whole instances costs (docs/families.md). QUICK=1: small.
bench-families: setup
	$(BIN)/python -m benchmarks.families $(if $(QUICK),--quick --rounds 1,--rounds $(ROUNDS) --write docs/families.md)

# What an operator's commands cost in CPU, against their budgets (docs/operating.md). QUICK=1: small.
bench-operating: setup
	$(BIN)/python -m benchmarks.operating $(if $(QUICK),--quick --rounds 2,--write docs/operating.md)

$(PEERS)/.installed: benchmarks/peers.txt
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/peers.txt
	touch $@

# What is generated (tests/generated.py): from the table of settings, from duroctl, from the table of JSON documents.
generated: setup
	$(BIN)/python -m tests.generated

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info
