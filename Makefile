# make run       the experiment of CONFIG and its report
# make test      the tests, but the long ones: test-workflow, test-faults, test-slurm and those below
# make bench     speed and memory, as ratios                  make lock   requirements.lock from pyproject.toml
# make lint      ruff, snakefmt, snakemake, import-linter      make docs   the site, from docs/
# make test-pages   the explorer and the report's long tables in Chromium
# make audit     known vulnerabilities in what the lock names
# make test-attack-libraries   five libraries' attacks on both views of a defence, and its page in docs/
# make test-schedulers   what the plugins of other schedulers submit; make test-sge   a real Grid Engine
# make test-networks   networks of five libraries: their layers and logits, and the tables in docs/
CONFIG ?= config.yaml
KILLS ?= 50
CASES ?= 2000
PYTHON ?= python3
ENV = .venv
BIN = $(ENV)/bin
LIBRARIES = .venv-attack-libraries
NETWORKS = .venv-networks
SCHEDULERS = .venv-schedulers

.PHONY: run test test-workflow test-faults test-slurm test-pages test-attack-libraries test-networks \
	test-schedulers test-sge test-gpu \
	test-all-networks slurm-demo audit bench lint format docs readme schema lock clean
.DELETE_ON_ERROR:

run: $(ENV)/ready
	@$(BIN)/python -m featurepaths run '$(CONFIG)'

test: $(ENV)/ready
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --ignore=tests/slurm --ignore=tests/sge --ignore=tests/faults \
		--ignore=tests/networks_of_others --ignore=tests/schedulers --ignore=tests/pages --ignore=tests/gpu \
		--ignore=tests/workflow

# Experiments through Snakemake and `featurepaths run`: results, reruns, shards, resources, installed package.
test-workflow: $(ENV)/ready
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile tests/workflow

# Kills, full disks, damaged and hostile files; they write the table of docs/reliability.md. KILLS=500 CASES=50000: more;
# KILLED=config.yaml: the default experiment is killed, not a smaller one of the same stages.
test-faults: export KILLS := $(KILLS)
test-faults: export KILLED := $(KILLED)
test-faults: export CASES := $(CASES)
test-faults: $(ENV)/ready
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile tests/faults

# A separate SLURM on this machine: needs root, and Debian's slurm-wlm, munge, slurmdbd and mariadb-server.
slurm-demo: $(ENV)/ready
	$(BIN)/python -m tests.slurm.cluster sh -c "$(BIN)/snakemake --profile profiles/slurm \
		--configfile '$(CONFIG)' --slurm-init-seconds-before-status-checks 2 --seconds-between-status-checks 2 && \
		sacct -X -o jobid%6,comment%60,partition,alloctres%60,state,elapsed"

test-slurm: $(ENV)/ready
	$(BIN)/python -m pytest tests/slurm

# Debian's chromium and chromium-driver; they are skipped where these are missing, unless FEATUREPATHS_CHROMIUM is set.
test-pages: $(ENV)/ready
	$(BIN)/python -m pytest tests/pages

# What the plugins of other schedulers submit with the profiles, in an environment above .venv; it writes the table of
# docs/cluster.md.
test-schedulers: $(SCHEDULERS)/ready
	$(SCHEDULERS)/bin/python -m tests.schedulers.test_submissions docs/cluster.md
	$(SCHEDULERS)/bin/python -m pytest -q tests/schedulers

# A separate Grid Engine on this machine: needs root, and Debian's gridengine-master, -exec and -client.
test-sge: $(SCHEDULERS)/ready
	$(SCHEDULERS)/bin/python -m pytest -q tests/sge

# On a machine with a GPU; skipped on others.
test-gpu: $(ENV)/ready
	$(BIN)/python -m pytest tests/gpu

# Every attack of five libraries on both views of a small defence, in a separate environment above .venv; it writes the
# table of docs/attack-libraries.md, and fails where a view stands that should not.
test-attack-libraries: $(LIBRARIES)/ready
	$(LIBRARIES)/bin/python -m tests.attack_libraries --page docs/attack-libraries.md

# Small networks of torchvision, timm, transformers, RobustBench and pytorchcv, in a separate environment above .venv:
# the layers that `auto` finds, whose number has to be that of the networks' blocks, and the logits, which have to be the
# library's. It writes both tables. test-all-networks prints the layers of the smallest network of every family of timm.
test-networks: $(NETWORKS)/ready
	$(NETWORKS)/bin/python -m tests.networks_of_others --page docs/own-network.md
	$(NETWORKS)/bin/python -m pytest -q tests/networks_of_others
	$(NETWORKS)/bin/python -m tests.networks_of_others.test_weights docs/networks-and-checkpoints.md

test-all-networks: $(NETWORKS)/ready
	$(NETWORKS)/bin/python -m tests.networks_of_others --all

# Known vulnerabilities in what the lock names, where a database can be reached.
audit: $(ENV)/ready
	$(BIN)/python -m tests.audit

bench: $(ENV)/ready
	$(BIN)/snakemake --cores all --quiet rules host --configfile config.yaml
	$(BIN)/python -m benchmarks

lint: $(ENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint
	$(BIN)/lint-imports

format: $(ENV)/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile rules

docs: $(ENV)/ready
	$(BIN)/python -m sphinx --fresh-env --fail-on-warning --keep-going --quiet docs site
	@echo "Open site/index.html."

readme: $(ENV)/ready
	$(BIN)/python -m tests.workflow.test_reruns docs/reruns.md
	$(BIN)/python -m tests.attacks.test_methods docs/method.md
	$(BIN)/python -m tests.checkpoint_kinds docs/networks-and-checkpoints.md
	$(BIN)/python -m tests.data_kinds docs/data-files.md

schema: $(ENV)/ready
	$(BIN)/python -m featurepaths.experiment.config.experiment > schemas/config.schema.json

# Debian splits ensurepip from Python: without it the environment is made bare and the system's pip fills it.
$(ENV)/ready: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in [(3, 11), (3, 12), (3, 13)])' || \
		{ echo "featurepaths needs Python 3.11, 3.12 or 3.13; name one with make PYTHON=..." >&2; exit 1; }
	@echo "Installing the packages of requirements.lock in $(ENV)"
	@rm -rf $(ENV)
	@$(PYTHON) -m venv $(ENV) 2>/dev/null || $(PYTHON) -m venv --clear --without-pip $(ENV)
	@pip="$(BIN)/python -m pip"; $$pip --version >/dev/null 2>&1 || pip="$(PYTHON) -m pip --python $(BIN)/python"; \
		$$pip install --quiet --no-deps --require-hashes -r requirements.lock && \
		$$pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# Their packages come first; .venv's, and the checkout's, lie behind them.
$(LIBRARIES)/ready: tests/attack_libraries/requirements.txt
$(NETWORKS)/ready: tests/networks_of_others/requirements.txt
$(SCHEDULERS)/ready: tests/schedulers/requirements.txt
$(LIBRARIES)/ready $(NETWORKS)/ready $(SCHEDULERS)/ready: $(ENV)/ready
	rm -rf $(@D)
	$(BIN)/python -m venv --without-pip $(@D)
	packages="import sysconfig; print(sysconfig.get_path('purelib'))"; \
		{ $(BIN)/python -c "$$packages"; echo '$(CURDIR)/src'; } > \
		"$$($(@D)/bin/python -c "$$packages")/featurepaths.pth"
	pip="$(BIN)/python -m pip"; $$pip --version >/dev/null 2>&1 || pip="$(PYTHON) -m pip"; \
		$$pip --python $(@D)/bin/python install --quiet --no-deps --require-hashes -r $(filter %requirements.txt,$^)
	touch $@

# uv writes one lock for every platform; make lock UPGRADE=--upgrade takes newer versions. The override lets torchattacks
# be installed with Snakemake: see pyproject.toml.
lock:
	echo 'requests>=2.32' | uv pip compile pyproject.toml --all-extras --group lock --override /dev/stdin \
		--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --quiet $(UPGRADE) \
		--custom-compile-command 'make lock' --output-file requirements.lock

clean:
	rm -rf results site .snakemake
