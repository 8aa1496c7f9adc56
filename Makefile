.DEFAULT_GOAL := help
PYTHON ?= python3
ARGS ?= --model-name resnet1d_10 --sampler equal --version bump
EXTRAS := $(patsubst %,requirements-%.txt,research vision explain export parquet completion docs)
# The quick test files.
FAST := loaders/families/test_beats loaders/families/test_labels \
	loaders/files/test_archives loaders/files/test_cache loaders/formats/test_edf \
	loaders/formats/test_lead_names loaders/test_augment loaders/test_base test_args \
	test_habits test_house toolbox/ecg/test_matching toolbox/metrics/test_intervals \
	toolbox/metrics/test_calibration toolbox/runs/test_checkpoints \
	toolbox/runs/test_predictions toolbox/tasks/test_classify toolbox/tasks/test_detect \
	toolbox/test_errors toolbox/test_files toolbox/runs/test_outputs toolbox/training/test_losses \
	toolbox/training/test_optimizers
# Python compiles the modules that it imports; to compile all of them is half of the time.
INSTALL := .venv/bin/python -m pip install --no-compile
# Every process of the checks would compile them anew.
unexport PYTHONDONTWRITEBYTECODE
PYTEST := .venv/bin/python -m pytest -n auto --maxprocesses 4 --dist worksteal

.PHONY: help train test test-fast lint format types docs audit

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

train: .venv/ready ## set up and train; make train ARGS="--model-name cnn1d_3 --short-run" passes flags
	.venv/bin/python commander.py --threads auto $(ARGS)

test: lint types ## set up and run all checks and tests
	$(PYTEST) --durations=10

test-fast: .venv/ready-dev ## run the quick tests, before every commit
	.venv/bin/python -m pytest -n 2 $(FAST:%=tests/%.py)

lint: .venv/ready-dev ## check style and format, change nothing
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

format: .venv/ready-dev ## correct style where that is safe, and format
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

types: .venv/ready-dev ## check types
	.venv/bin/mypy

docs: .venv/ready-dev ## write the generated pages of docs/ from the declarations, and all pages as HTML
	.venv/bin/python docs/generate.py
	.venv/bin/sphinx-build -q -W -b html docs docs/_build/html

audit: .venv/ready-dev ## ask a public database for known weaknesses of the installed packages
	.venv/bin/python -m pip install pip-audit
	.venv/bin/pip-audit

# The pip that comes with older Pythons takes twice the time to choose the files.
.venv/pip:
	$(PYTHON) -m venv .venv
	$(INSTALL) --upgrade pip
	touch $@

.venv/ready: .venv/pip requirements.txt
	$(INSTALL) -r requirements.txt
	touch $@

.venv/ready-dev: .venv/pip requirements.txt requirements-dev.txt $(EXTRAS)
	$(INSTALL) $(patsubst %,-r %,$(filter %.txt,$^))
	touch .venv/ready $@
