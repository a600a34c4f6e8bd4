# make check     run ruff, mypy, import-linter, shellcheck, and the quick tests that need no root
# make test      install the test requirements, then run all tests (root)
# make vm-test   run the kernel and e2e tests in a VM with cgroup v2 (root; or ARCH=arm64)
# make coverage  measure line and branch coverage of src (root; TESTS="tests/unit" for a part)
# make docs      update docs/how-it-works with the current output of its commands (root)
# make docs-ru  update the Russian pages and their catalogues, docs/ru/catalogues
# make screenshots  take the pictures of docs/look.md and README.md anew (root)
# make site      build the docs as a static site with search, in build/site
# make stress    start and remove a hundred containers, eight at a time (root)
# make long      run all tests at full length: ten minutes of fuzzing, complete fault matrices, each lab
#                twenty times, the stress test (root; hours)
# make bench     benchmark minidock, docker and podman in one run (root)
# make box       build the disposable VM from Debian packages, for `vagrant up` without Internet access
# make vm-reset  restore the disposable VM to the state after its first `vagrant up`
# make vagrant-test   test all that README.md says about the disposable VM, with Vagrant (root)
# make release-check  run test, vm-test (both architectures), vagrant-test, long, bench (root; hours)
# make lock      update the versions and hashes that install.sh installs (with Python 3.11)
# make install   install minidock in /opt/minidock, its commands in /usr/local/bin (root)
# make clean     remove generated files from this directory

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# One more than processors: tests often wait for other things than the CPU.
JOBS   ?= $(shell echo $$(($$(nproc) + 1)))
SCRIPTS := install.sh needs.sh .ci/run $(wildcard images/*/recipe images/*/*.sh) \
           $(addprefix vagrant/,box provision.sh reset test tour) \
           $(addprefix vagrant/image/,build cached foreign initrd kernel setup) tests/vm/job \
           vagrant/image/rootfs/usr/local/lib/minidock-vm/job \
           labs/gradescope/run_autograder labs/gradescope/grade_submission tests/fixtures/labs/box.bash \
           vagrant/playground/lib.sh $(filter-out %.md,$(wildcard vagrant/playground/[01]*))

.PHONY: check lint shellcheck test coverage test-needs long stress docs docs-ru screenshots site bench lock install clean vm-test box vm-reset vagrant-test release-check

$(VENV)/.ready: pyproject.toml
	./needs.sh build lint
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[test]'
	touch $@

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory shellcheck

shellcheck:
	shellcheck $(SCRIPTS)

check: lint
	$(BIN)/pytest tests/architecture tests/unit -m "not root and not slow" -n $(JOBS) --dist loadgroup

# Where the environment forbids Python to write byte code (PYTHONDONTWRITEBYTECODE), each command of
# a test would compile all modules that it imports.
test-needs: $(VENV)/.ready
	./needs.sh run test
	$(BIN)/python -m compileall -q src

test:
	@echo "make test, 1 of 3: packages that the tests compare minidock with (docker, podman, skopeo, ...)"
	@$(MAKE) --no-print-directory test-needs
	@echo "make test, 2 of 3: lint"
	@$(MAKE) --no-print-directory lint
	@echo "make test, 3 of 3: all tests; half an hour on two processors. An installed Docker or"
	@echo "podman, and its containers, are not changed."
	$(BIN)/pytest -n $(JOBS) --dist loadgroup

vm-test:
	./needs.sh vm $(if $(filter arm64,$(ARCH)),arm64)
	$(PYTHON) tests/vm/run.py $(if $(ARCH),--arch $(ARCH)) \
	    $(if $(TESTS),-- -n 2 --dist loadgroup -q $(TESTS))

# Tests that check imports or system calls of their own process fail under coverage; ignore them.
coverage: test-needs
	rm -rf build/coverage
	mkdir -p build/coverage
	chmod 1777 build/coverage  # unprivileged test commands write there too
	-$(BIN)/coverage run -m pytest -n $(JOBS) --dist loadgroup $(TESTS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

docs: test-needs
	MINIDOCK_WRITE_DOCS=1 $(BIN)/pytest -q tests/e2e/test_how_it_works.py
	@$(MAKE) --no-print-directory docs-ru

docs-ru: $(VENV)/.ready
	PYTHONPATH=src:tests $(BIN)/python -m support.page_translation

screenshots: test-needs
	MINIDOCK_WRITE_DOCS=1 $(BIN)/pytest -q tests/e2e/test_look_pictures.py

site: $(VENV)/.ready
	$(BIN)/mkdocs build --quiet
	@echo "$(CURDIR)/build/site/index.html"

long: test-needs lint
	MINIDOCK_LONG=1 $(BIN)/pytest -n $(JOBS) --dist loadgroup

stress: test-needs
	MINIDOCK_STRESS=100 $(BIN)/pytest tests/e2e/test_stress.py

bench: test-needs
	./needs.sh bench
	$(BIN)/python benchmarks/bench.py

box:
	vagrant/box

vm-reset:
	vagrant/reset

vagrant-test:
	./needs.sh vm vagrant
	vagrant/test

release-check: test vm-test vagrant-test
	$(MAKE) vm-test ARCH=arm64
	$(MAKE) long
	$(MAKE) bench

# Resolve with the oldest Python of pyproject.toml: newer ones accept the same versions. Ignore this
# machine's pip configuration, which may add local packages.
LOCK := CUSTOM_COMPILE_COMMAND="make lock" build/lock/bin/pip-compile --quiet --upgrade --generate-hashes \
        --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links
lock:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	    { echo "make lock: run it with Python 3.11: make lock PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet pip-tools
	env -u PIP_FIND_LINKS $(LOCK) --output-file requirements.lock pyproject.toml
	$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
	    >build/lock/build.in
	echo setuptools >>build/lock/build.in  # for python-prctl, of which there are no wheels
	env -u PIP_FIND_LINKS $(LOCK) --no-annotate --output-file requirements-build.lock build/lock/build.in

install:
	./install.sh

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
