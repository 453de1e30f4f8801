# The commands of this project; `make help` lists them. ARGS goes to the command: make demo ARGS="--seconds 20"
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest
# Two processes: PyTorch's loaders fork, which does not go well beside the threads of GStreamer, OpenVINO and TensorRT.
WITH_TORCH := tests/training tests/trt_build

.PHONY: help setup setup-test demo test test-all train lint deb lock audit faults soak gpu-check gpu-kit fuzz clean

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

deb: ## build a package for units like this machine: make deb [OUT=dist] [REVISION=1] [EXTRA=jetson]; docs/install.md
	@.ci/setup deb
	@systemd/deb/build "$(or $(OUT),dist)" "$(or $(REVISION),1)" "$(EXTRA)"

lock: ## resolve anew what a unit installs, with hashes, into systemd/requirements.lock: docs/security.md
	python3 -m venv .cache/lock && .cache/lock/bin/pip install --quiet uv
	.cache/lock/bin/uv pip compile pyproject.toml --universal --python-version 3.10 --generate-hashes --upgrade --quiet \
		--custom-compile-command "make lock" --output-file systemd/requirements.lock

audit: ## look for known vulnerabilities in systemd/requirements.lock: needs the internet
	python3 -m venv .cache/lock && .cache/lock/bin/pip install --quiet pip-audit
	.cache/lock/bin/pip-audit --requirement systemd/requirements.lock --require-hashes --disable-pip --strict

faults: setup-test ## inject every fault TIMES times (5) at a real station, and measure: make faults [ARGS="--only broker"]
	@$(PYTHON) -m tests.faults --times $(or $(TIMES),5) $(ARGS)

soak: setup-test ## faults and normal life by turns, and a plot: make soak MINUTES=60 [ARGS="--fps 8"]
	@$(PYTHON) -m tests.faults.soak --minutes $(MINUTES) $(ARGS)

gpu-check: ## measure all that only a GPU tells: make gpu-check [KIT=kit] [OUT=docs/measurements]; needs no network
	@$(or $(if $(KIT),,$(wildcard $(PYTHON))),python3) -m tests.gpu_check $(if $(KIT),--kit $(KIT)) \
		--out $(or $(OUT),docs/measurements) $(ARGS)

gpu-kit: setup-test ## wheels for gpu-check where there is no network: make gpu-kit [OUT=.cache/gpu-kit] [ARGS="--python 3.12"]
	@$(PYTHON) -m tests.gpu_check.kit.make $(or $(OUT),.cache/gpu-kit) $(ARGS)

fuzz: setup-test ## spoilt inputs for each reader of outside bytes: make fuzz [COUNT=100000] [SEED=1] [SECONDS=n] [ARGS=--help]
	@$(PYTHON) -m tests.fuzz run --count $(or $(COUNT),100000) --seed $(or $(SEED),1) $(if $(SECONDS),--seconds $(SECONDS)) $(ARGS)

clean: ## remove what tools left in the tree; .venv and runs/ stay
	rm -rf build dist *.egg-info edge/kernels/*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis .cache
	find edge training trt_build tests -name __pycache__ -type d -prune -exec rm -rf {} +
