# make train   sets everything up and trains; make train ARGS="--model-name cnn1d_3 --short-run" passes flags
# make audit   asks a public database for known weaknesses of the installed packages
# make test    sets everything up and runs the checks and the tests
PYTHON ?= python3
ARGS ?= --model-name resnet1d_10 --sampler equal --version bump

.PHONY: train test audit
train: .venv/ready
	.venv/bin/python commander.py $(ARGS)

test: .venv/ready-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/python -m pytest -n auto --maxprocesses 4 --dist worksteal

audit: .venv/ready
	.venv/bin/python -m pip install -q pip-audit
	.venv/bin/pip-audit

.venv/ready: requirements.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install -q -r requirements.txt
	touch $@

.venv/ready-dev: .venv/ready requirements-dev.txt
	.venv/bin/python -m pip install -q -r requirements-dev.txt
	touch $@
