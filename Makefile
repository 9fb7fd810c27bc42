# Two commands: `make bench` runs the benchmark on its embedded defaults, `make test` runs everything that is checked.
# Each makes its own environment on first use, from the lock files in environments/, and leaves it alone afterwards.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do command -v $$p >/dev/null 2>&1 \
	&& $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
NO_PYTHON = echo "No Python 3.11, 3.12 or 3.13 on PATH; name one: make PYTHON=..." >&2; exit 1
# The one package that no lock holds, from whatever index pip is configured for: README says how to get its CPU build.
TORCH ?= torch==2.13.0
# Bytecode of what is never imported is a fifth of an environment and half a minute; the rest is made when it is used.
PIP = -m pip install --quiet --disable-pip-version-check --no-compile
# Whatever is not in a lock is neither looked for nor fetched: not what a package asks for, not what builds it.
LOCKED = $(PIP) --no-deps --no-build-isolation --use-pep517
PYTEST = .venv-test/bin/python -m pytest -n 2 --dist loadfile
# Many container images set this; every program that a test starts would then compile all that it imports, anew.
unexport PYTHONDONTWRITEBYTECODE
CODE = interbench runners tests benchmarks examples environments

.PHONY: bench test suite test-loaded soak check quick lint types benchmark lock newest oldest clean
.DELETE_ON_ERROR:

bench: .venv/livetalk
	.venv/bin/interbench run --out runs/bench

# The types beside the tests: mypy has one processor busy for minutes where it begins without what it found before.
BESIDE_TYPES = $(MAKE) --no-print-directory --jobs 2 types
test: .venv-test/installed .venv-vllm/installed lint
	+$(BESIDE_TYPES) suite

# Two files at a time; the tests of one file share what they set up and stay in one process.
suite: .venv-test/installed .venv-vllm/installed
	$(PYTEST)

# The same on a busy machine: two loops take turns with it on the processors, and end when it ends, however it ends.
test-loaded: .venv-test/installed .venv-vllm/installed
	.venv-test/bin/python tests/support/busy.py 2 $(PYTEST)

# Repetition that `make test` has one of: many kills, many moments, every Python at hand.
soak: .venv-test/installed .venv-vllm/installed
	$(PYTEST) -m soak

# What a change is checked with while it is being made: no engines, no servers, no browser, no kills, no networks, no whole
# runs, and nothing that has to wait for a program to start.
SLOW = $(addprefix tests/interbench/,systems single drive audit/test_audit.py cli/test_cli.py cli/test_example.py \
	cli/test_interrupt.py cli/test_own_classes.py judge/signals/test_appearance.py judge/signals/test_puppet.py \
	judge/vlm/test_judge.py judge/vlm/test_serve.py media/test_continuity.py media/test_edit.py media/test_edit_others.py \
	media/test_hostile.py pipeline/test_clips_kept.py pipeline/test_cluster.py pipeline/test_cluster_parts.py \
	pipeline/test_conformance.py pipeline/test_ear_check.py pipeline/test_findings.py pipeline/test_no_transcript.py \
	pipeline/test_resume.py pipeline/test_shards.py rating/test_page.py rating/test_server.py rating/test_study.py \
	report/test_browser.py report/test_columns.py report/test_joint.py report/test_reacting.py report/test_results_page.py \
	scenarios/test_user_audio.py scenarios/test_versions.py) $(addprefix tests/livetalk/,thinkers/test_chat.py \
	thinkers/test_omni_cache.py thinkers/test_omni_codec.py thinkers/test_qwen_omni.py thinkers/test_vllm_omni.py \
	video/test_fragments.py video/test_same_bytes.py)
check: .venv-test/installed lint
	+$(BESIDE_TYPES) quick

quick: .venv-test/installed
	$(PYTEST) -q -x tests/interbench $(addprefix tests/livetalk/,cli sound thinkers video) $(addprefix --ignore ,$(SLOW))

lint: .venv-test/installed
	.venv-test/bin/ruff check $(CODE)
	.venv-test/bin/ruff format --check $(CODE)
	.venv-test/bin/typos

types: .venv-test/installed
	.venv-test/bin/mypy
	.venv-test/bin/mypy environments

# One of the scripts in benchmarks/; without NAME they are listed.
benchmark: .venv-test/installed
	.venv-test/bin/python -m benchmarks $(NAME) $(ARGS)

# New lock files, of the newest of everything that pyproject.toml allows; KEEP=yes keeps what nothing speaks against.
lock: .venv-lock/installed
	$(LOCK) $(if $(KEEP),--keep)

# The tests with the newest, or the oldest, of everything that pyproject.toml allows, and how that differs from the
# locks. torch stays, unless TORCH says otherwise; vLLM stays as it is locked.
newest: .venv-vllm/installed
	$(call new_environment,.venv-newest)
	.venv-newest/bin/python $(PIP) "$(TORCH)"
	.venv-newest/bin/python $(PIP) "$(TORCH)" \
		--editable ".[test,asr,livetalk,train,hub,rate,metrics,faces,ray,gemini-live,livekit,webrtc]"
	$(call test_beyond_the_locks,.venv-newest)

# Old libraries warn of new ones, and nobody will mend that: here a warning is no error.
oldest: .venv-vllm/installed .venv-lock/installed
	$(call new_environment,.venv-oldest)
	$(LOCK) --oldest .venv-oldest/versions.txt
	.venv-oldest/bin/python $(PIP) --no-deps "$(TORCH)"
	.venv-oldest/bin/python $(PIP) -r .venv-oldest/versions.txt
	.venv-oldest/bin/python $(PIP) --no-deps --editable .
	$(call test_beyond_the_locks,.venv-oldest,-o filterwarnings=default)

define test_beyond_the_locks
status=0; $(1)/bin/python -m pytest -n 2 --dist loadfile $(2) $(TESTS) || status=$$?; \
	$(1)/bin/python environments/differences.py environments/test.txt; exit $$status
endef

# uv is at hand only where it is needed; it never installs anything.
LOCK = PATH="$$PWD/.venv-lock/bin:$$PATH" .venv-lock/bin/python environments/lock.py "$(TORCH)"
.venv-lock/installed:
	$(call new_environment,$(@D))
	$(@D)/bin/python $(PIP) packaging uv
	touch $@

# A lock that changed makes its environment anew, so that nothing of the old one stays behind.
define new_environment
@test -n "$(PYTHON)" || { $(NO_PYTHON); }
$(PYTHON) -m venv --clear $(1)
endef

.venv/locked: environments/build.txt environments/core.txt
	$(call new_environment,$(@D))
	$(@D)/bin/python $(LOCKED) --require-hashes -r environments/build.txt
	$(@D)/bin/python $(LOCKED) --require-hashes -r environments/core.txt
	touch $@

# A CUDA build of torch asks for packages that no lock holds; torch names their versions, and the last line fetches
# them. Of a CPU build the locks hold everything.
.venv-test/locked: environments/build.txt environments/test.txt
	$(call new_environment,$(@D))
	$(@D)/bin/python $(LOCKED) "$(TORCH)"
	$(@D)/bin/python $(LOCKED) --require-hashes -r environments/build.txt
	$(@D)/bin/python $(LOCKED) --require-hashes -r environments/test.txt
	$(@D)/bin/python $(PIP) "$(TORCH)"
	touch $@

.venv/installed .venv-test/installed: %/installed: %/locked pyproject.toml
	$(@D)/bin/python $(LOCKED) --editable .
	$(@D)/bin/python -m pip check
	touch $@

# livetalk beside the core, where torch's CPU build is to be had. Elsewhere the benchmark goes on without it and says so,
# rather than that somebody who looks at a table waits for gigabytes.
.venv/livetalk: .venv/installed environments/livetalk.txt environments/cpu_torch.py
	if $(@D)/bin/python environments/cpu_torch.py "$(TORCH)" >$(@D)/torch.txt; then \
		$(@D)/bin/python $(LOCKED) -r $(@D)/torch.txt && \
		$(@D)/bin/python $(LOCKED) --require-hashes -r environments/livetalk.txt && \
		$(@D)/bin/python -m pip check && touch $@; \
	else echo "the benchmark goes on without livetalk" >&2; fi

# vLLM for the CPU pins its own torch and transformers and therefore lives alone, beside what it shares with the tests'
# environment. Three packages that it asks for are left out, for they are CUDA builds: nothing else may be missing.
.venv-vllm/installed: .venv-test/locked environments/vllm.txt
	$(call new_environment,$(@D))
	if .venv-test/bin/python -c 'from importlib.metadata import version; assert version("torch").endswith("+cpu")' \
		2>/dev/null; then \
		.venv-test/bin/python environments/share.py $(@D) environments/vllm.txt torch && \
		$(@D)/bin/python $(LOCKED) --require-hashes -r environments/vllm.txt && \
		! $(@D)/bin/python -m pip check \
			| grep -vE 'requires (torchaudio|torchcodec|triton), which is not installed|^No broken requirements'; \
	else echo "vLLM for the CPU needs torch's CPU build for Linux: the tests on the real engine will be skipped" >&2; fi
	touch $@

clean:
	rm -rf .venv .venv-test .venv-vllm .venv-lock .venv-newest .venv-oldest runs/bench
