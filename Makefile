# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
VENV ?= .venv
PYTHON ?=
PYTHON_VERSIONS ?=
CONSTRAINTS ?= requirements/constraints.txt
REQUIREMENTS ?=
MMCV ?= lite
PIP_OPTIONS ?=
DEMO_ARGS ?=
TEST_ARGS ?=

PY := $(VENV)/bin/python
STAMP := $(VENV)/.regionclip_mmdet_installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-gpu test-web test-classic test-fork test-ops test-mim lint wheel docs clean

help:
	@echo 'make demo     install, then run the quickstart: CLIP becomes RegionCLIP on the CPU'
	@echo 'make test     install, then run the tests'
	@echo 'make test-gpu install, then run the tests that need a GPU (two, where there are two)'
	@echo 'make test-web install gradio, playwright and Chromium, too, then test the page in a browser'
	@echo 'make install  create $(VENV) with tested versions (done by the others when needed)'
	@echo 'make test-classic  the same with Python 3.10, torch 2.1 and numpy 1.26, in .venv-classic'
	@echo 'make test-fork     the same with the OneDL fork of OpenMMLab, in .venv-fork'
	@echo 'make test-ops      the same with a compiled mmcv, in .venv-ops (compiles: needs g++, minutes)'
	@echo 'make test-mim      install openmim in .venv-mim, then run docs/mim.md and docs/downstream.md with it'
	@echo 'make lint     check style and types (ruff, mypy)'
	@echo 'make wheel    build a wheel into dist/'
	@echo 'make docs     build the documentation site into build/site (installs Sphinx the first time)'
	@echo 'make clean    remove build leftovers (keeps $(VENV) and work_dirs/)'
	@echo
	@echo 'PYTHON=...       interpreter for $(VENV), 3.10 to 3.12 (default: the first one found)'
	@echo 'VENV=...         folder of the environment (default: .venv)'
	@echo 'CONSTRAINTS=...  file of tested versions (default: requirements/constraints.txt)'
	@echo 'PIP_OPTIONS=...  further options for pip install, for example another index'
	@echo 'DEMO_ARGS=...    options of tools/quickstart.py;  TEST_ARGS=...  options of pytest'

# The stamp makes this a no-op until the requirements change.
$(STAMP): pyproject.toml $(CONSTRAINTS) $(REQUIREMENTS)
	@PYTHON='$(PYTHON)' PYTHON_VERSIONS='$(PYTHON_VERSIONS)' PIP_OPTIONS='$(PIP_OPTIONS)' \
	    CONSTRAINTS='$(CONSTRAINTS)' REQUIREMENTS='$(REQUIREMENTS)' MMCV='$(MMCV)' \
	    bash requirements/create_environment.sh '$(VENV)'
	@touch $@

install: $(STAMP)

demo: $(STAMP)
	$(PY) tools/quickstart.py $(DEMO_ARGS)

test: $(STAMP)
	$(PY) -m pytest $(TEST_ARGS)

test-gpu: $(STAMP)
	$(PY) -m pytest -m gpu $(TEST_ARGS)

test-web: $(STAMP)
	@PIP_OPTIONS='$(PIP_OPTIONS)' CONSTRAINTS='$(CONSTRAINTS)' \
	    bash requirements/prepare_web_tests.sh '$(VENV)'
	$(PY) -m pytest -m web $(TEST_ARGS)

# Other stacks have a folder of their own unless VENV is given: one environment, one stack.
own_venv = $(if $(filter command environment,$(firstword $(origin VENV))),$(VENV),$(1))

test-classic:
	@$(MAKE) test VENV='$(call own_venv,.venv-classic)' PYTHON_VERSIONS='3.10 3.11' \
	    CONSTRAINTS=requirements/constraints-classic.txt

test-fork:
	@$(MAKE) test VENV='$(call own_venv,.venv-fork)' REQUIREMENTS=requirements/fork.txt

test-ops:
	@$(MAKE) test VENV='$(call own_venv,.venv-ops)' MMCV=ops

# openxlab 0.0.11 asks for no old versions of setuptools, rich and others (docs/mim.md).
test-mim:
	@$(MAKE) install VENV='$(call own_venv,.venv-mim)'
	$(call own_venv,.venv-mim)/bin/python -m pip install $(PIP_OPTIONS) -c $(CONSTRAINTS) \
	    openmim openxlab==0.0.11
	$(call own_venv,.venv-mim)/bin/python -m pytest -m 'not gpu' tests/test_downstream/test_mim.py \
	    tests/test_downstream/test_project.py tests/test_downstream/test_config_inheritance.py $(TEST_ARGS)

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m mypy

wheel: $(STAMP)
	$(PY) -m pip wheel . --no-deps --no-build-isolation -w dist

DOCS_STAMP := $(VENV)/.regionclip_mmdet_docs_installed

$(DOCS_STAMP): $(STAMP)
	$(PY) -m pip install --disable-pip-version-check --quiet $(PIP_OPTIONS) -c $(CONSTRAINTS) -e '.[docs]'
	@touch $@

# Warnings are errors; what is built can be read from disk, without a server or a network.
docs: $(DOCS_STAMP)
	$(PY) -m sphinx -q -W --keep-going -c docs/site . build/site
	@echo 'Built build/site/index.html'

clean:
	rm -rf build dist docs/api *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find regionclip_mmdet configs tools tests -name __pycache__ -type d -prune -exec rm -rf {} +
