# Everything works from a fresh clone with Python 3.11 and make; .venv is made on the way.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PYTHONHASHSEED := 0
# Tests at once; each has one thread of its own, as networks' threads on shared cores wait for each other.
JOBS ?= $(shell n=$$(nproc); echo $$((n < 4 ? n : 4)))

.DEFAULT_GOAL := help
.PHONY: help run test test-all test-image overfit check fmt compile golden lock image image-lock pretrain bench reproduce smoke clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(READY) ## Set everything up and run the main job on a simulated camera (result: runs/demo)
	@$(BIN)/culling run --out runs/demo

test: $(READY) ## Set everything up and run the tests that every change must pass (minutes)
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not slow and not image"

test-all: $(READY) ## Run all tests, the slow ones too (more than an hour on two cores)
	@$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

test-image: $(READY) ## Build the image, run its tests, and record what they covered (docker/tested.sha256)
	@scripts/image/test.sh

overfit: $(READY) ## Check that every student, the large ones too, overfits eight frames (half an hour on two cores)
	@$(BIN)/python -m pytest -n $(JOBS) -q tests/contract/test_overfit.py

check: $(READY) ## Formatting, lint, types, import contracts, cycles, prose
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_cycles.py
	$(BIN)/python scripts/check_prose.py

fmt: $(READY) ## Format the code and fix what lint can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

compile: $(READY) ## Compile the Kubeflow pipeline for every profile, and its components, into pipelines/compiled
	@$(BIN)/python pipelines/specialise_camera.py

golden: $(READY) ## Write the golden files anew; look at the diff before committing it
	UPDATE_GOLDEN=1 $(BIN)/python -m pytest -q -k golden

bench: $(READY) ## Run the benchmarks one after another (minutes; results in build/bench)
	@mkdir -p build/bench
	@for script in benchmarks/*.py; do name=$$(basename $$script .py); \
		echo "== $$name"; $(BIN)/python $$script --json build/bench/$$name.json || exit 1; done

reproduce: $(READY) ## The paper's tables on simulated cameras (PRESET=smoke, minutes; short; cpu, a night; gpu)
	$(BIN)/python -m experiments.reproduce --preset $(or $(PRESET),smoke) --out runs/reproduce-$(or $(PRESET),smoke) $(ARGS)

smoke: $(READY) ## Run the pipeline on a kind cluster, from nothing (needs kind, kubectl, docker; ARGS=--dry-run only says how)
	@scripts/smoke/smoke.sh $(ARGS)

pretrain: $(READY) ## Train the embedded student and teacher again from nothing (about two hours)
	$(BIN)/python pipelines/pretrain_embedded.py --only student --epochs 2 --threads 1
	$(BIN)/python pipelines/pretrain_embedded.py --only teacher --epochs 2 --batch-size 4 --learning-rate 0.0012 \
		--threads 1 --out build/pretrain
	$(BIN)/python pipelines/pretrain_embedded.py --only teacher --epochs 2 --batch-size 4 --learning-rate 0.0008 \
		--threads 1 --seed 1 --init build/pretrain/tiny_teacher.safetensors

lock: ## Resolve the pinned requirements anew
	$(BIN)/uv pip compile pyproject.toml --all-extras --generate-hashes --no-emit-index-url -q -o requirements.lock

image: ## Build the image of every stage (ARGS="--target gpu", --local-base where nothing can be pulled, --help)
	@scripts/image/build.sh $(ARGS)

image-lock: $(READY) ## Resolve what the image installs (WHEEL_INDEX=ADDRESS LOCK=FILE for other wheels)
	@$(BIN)/uv pip compile pyproject.toml --extra torch --extra store --extra tracks --constraint requirements.lock --generate-hashes \
		--no-emit-index-url --custom-compile-command "make image-lock" -q $(if $(WHEEL_INDEX),--index $(WHEEL_INDEX)) \
		-o $(or $(LOCK),docker/requirements-image.lock)

clean: ## Remove what was built, not what was downloaded
	rm -rf build runs .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than Python 3.11; pass PYTHON=/path/to/python3.11"; exit 2; }
	@echo "setting up $(VENV) (about 6 GB, one or two minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet "uv>=0.5,<1"
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip sync --quiet --require-hashes requirements.lock
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $(READY)
