# `make chat` and `make test` need git, make and Python 3.11 or newer (or uv), no more.
# Written for GNU make 3.81, the one that macOS has.

.DEFAULT_GOAL := help
.PHONY: help chat test check lint types wheel floors parity golden clean

# More arguments for the program: make chat ARGS="--help", make test ARGS="-k rope".
ARGS =

help: ## List the targets.
	@sed -n 's/^\([a-z]*\): ## /\1: /p' Makefile | \
		awk -F ': ' '{ printf "make %-8s %s\n", $$1, $$2 }'

chat: ## Chat with a model; set up .venv first if needed.
	@sh .ci/setup
	@exec .venv/bin/gptoss-mlx chat $(ARGS)

test: ## Run the tests that take under 20 s each.
	@sh .ci/setup test
	@exec .venv/bin/python -m pytest -n auto --dist worksteal -m "not slow" $(ARGS)

check: ## Run the tests that take longer.
	@sh .ci/setup test
	@.venv/bin/python -m pytest -n auto --dist worksteal -m "slow and not timed" $(ARGS)
	@exec .venv/bin/python -m pytest -m timed $(ARGS)

lint: ## Look for mistakes and stray formatting.
	@sh .ci/setup dev
	@.venv/bin/python -m ruff check .
	@.venv/bin/python -m ruff format --check .

types: ## Check the types, strictly.
	@sh .ci/setup dev
	@.venv/bin/python -m mypy --strict

wheel: ## Build the wheel into dist/, and start it from outside the clone.
	@sh .ci/setup
	@sh .ci/wheel

# Where our code meets other packages, without what takes long for its own sake.
FLOORS = tests/chat tests/cli/test_app.py tests/convert/test_interrupted.py \
	tests/convert/test_pipeline.py tests/generation/test_sampling.py \
	tests/harmony/test_parse.py tests/harmony/test_render.py tests/harmony/test_schema.py \
	tests/library tests/model/test_loading.py \
	tests/model/test_parity.py tests/sharing tests/test_api.py tests/test_packaging.py \
	tests/test_tokenizer.py tests/tools/test_functions.py tests/tools/test_signature.py \
	-k "not hostile_document and not 1500 and not 100000 and not rendered and not picture and not quick"

floors: ## Test with the oldest packages that pyproject.toml allows.
	@sh .ci/setup floors
	@.venv/bin/python -m uv venv --quiet --clear --python .venv/bin/python .venv-floors
	@.venv/bin/python -m uv pip install --quiet --python .venv-floors/bin/python \
		--resolution lowest-direct --only-binary :all: -e . --group test
	@exec .venv-floors/bin/python -m pytest -n auto -p no:cacheprovider \
		-m "not slow" $(FLOORS) $(ARGS)

# gpt-oss asks for Python 3.12 and for packages that its torch model does not use; torch
# for the CPU is found by pip, and not by uv, where it lies in a folder.
parity: ## Compare logits and browser with OpenAI's own and transformers (fetches torch).
	@sh .ci/setup --venv .venv-parity --python 3.11 parity
	@.venv-parity/bin/python -m pip install --quiet --no-deps --ignore-requires-python \
		gpt-oss==0.0.9 >&2
	@MLX_ENABLE_TF32=0 .venv-parity/bin/python tests/parity/live.py $(ARGS)
	@.venv-parity/bin/python tests/parity/make_browser_golden.py 200

golden: ## Make the golden logits of the tests again (after make parity).
	@.venv-parity/bin/python tests/parity/make_golden.py
	@.venv-parity/bin/python tests/parity/make_demo_golden.py

clean: ## Remove all files that make has created.
	@rm -rf .venv .venv-floors .venv-parity build dist *.egg-info
	@rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find gptoss_mlx convert tests examples -name __pycache__ -prune -exec rm -rf {} +
