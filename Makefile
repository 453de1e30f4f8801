# The commands of this project; `make help` lists them. ARGS goes to the command: make demo ARGS="--seconds 20"
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest
# Two processes: PyTorch's loaders fork, which does not go well beside the threads of GStreamer, OpenVINO and TensorRT.
WITH_TORCH := tests/training tests/trt_build

.PHONY: help setup setup-test demo test test-all train lint gpu-check gpu-kit clean

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

setup: ## install what the demo needs; does nothing when all is there
	@.ci/setup

setup-test: ## install what the tests need besides
	@.ci/setup test

demo: setup ## run the service on the shipped clip, with its own broker; Ctrl-C ends it
	@.venv/bin/tapetum-edge demo $(ARGS)

test: lint ## check style and types, then run all tests but the slow ones
	$(PYTEST) -m "not slow" $(WITH_TORCH:%=--ignore=%) $(ARGS)
	$(PYTEST) -m "not slow" $(WITH_TORCH) $(ARGS)

test-all: lint ## the same with the slow tests
	$(PYTEST) $(WITH_TORCH:%=--ignore=%) $(ARGS)
	$(PYTEST) $(WITH_TORCH) $(ARGS)

train: ## train and measure every network: make train DATA=folder [PROFILE=cpu] [OUT=runs]; resumes; needs no network
	.venv/bin/tapetum-train all --data $(DATA) --out $(or $(OUT),runs) --profile $(or $(PROFILE),gpu)

lint: setup-test ## check style and types
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

gpu-check: ## measure all that only a GPU tells: make gpu-check [KIT=kit] [OUT=docs/measurements]; needs no network
	@$(or $(if $(KIT),,$(wildcard $(PYTHON))),python3) -m tests.gpu_check $(if $(KIT),--kit $(KIT)) \
		--out $(or $(OUT),docs/measurements) $(ARGS)

gpu-kit: setup-test ## wheels for gpu-check where there is no network: make gpu-kit [OUT=.cache/gpu-kit] [ARGS="--python 3.12"]
	@$(PYTHON) -m tests.gpu_check.kit.make $(or $(OUT),.cache/gpu-kit) $(ARGS)

clean: ## remove what tools left in the tree; .venv and runs/ stay
	rm -rf build dist *.egg-info edge/kernels/*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis .cache
	find edge training trt_build tests -name __pycache__ -type d -prune -exec rm -rf {} +
