# make check     ruff, mypy, import-linter, shellcheck, and the tests that need no root
# make test      installs what the tests need, then runs all of them (root)
# make vm-test   the kernel's and the e2e tests once more, in a machine with cgroup v2 (root; or ARCH=arm64)
# make coverage  which lines and branches of src the tests have run (root; TESTS="tests/unit" for a part)
# make docs      docs/how-it-works with what its commands print today (root)
# make stress    a hundred containers started and removed, eight at a time (root)
# make long      all tests at full length: ten minutes of fuzzing, whole matrices of faults, each lab
#                twenty times, the stress of `make stress` (root; hours)
# make bench     the same work by minidock, docker and podman, in one run (root)
# make box       the disposable machine out of Debian's packages, for `vagrant up` without internet
# make vm-reset  the disposable machine as it was after its first `vagrant up`
# make vagrant-test   all that README promises of the disposable machine, through Vagrant (root)
# make release-check  everything: test, vm-test (both architectures), vagrant-test, long, bench (root; hours)
# make lock      the versions and hashes that install.sh takes, as they are today (with Python 3.11)
# make install   minidock in /opt/minidock, commands in /usr/local/bin (root)
# make clean     removes what the others made in this directory

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# One more than processors: a test waits for much that is not one.
JOBS   ?= $(shell echo $$(($$(nproc) + 1)))
SCRIPTS := install.sh needs.sh .ci/run $(wildcard images/*/recipe images/*/*.sh) \
           $(addprefix vagrant/,box provision.sh reset test tour) \
           $(addprefix vagrant/image/,build cached foreign initrd kernel setup) tests/vm/job \
           vagrant/image/rootfs/usr/local/lib/minidock-vm/job \
           labs/gradescope/run_autograder labs/gradescope/grade_submission tests/fixtures/labs/box.bash \
           vagrant/playground/lib.sh $(filter-out %.md,$(wildcard vagrant/playground/[01]*))

.PHONY: check lint shellcheck test coverage test-needs long stress docs bench lock install clean vm-test box vm-reset vagrant-test release-check

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
	$(BIN)/pytest -m "not root" -n $(JOBS) --dist loadgroup

test-needs: $(VENV)/.ready
	./needs.sh run test

test:
	@echo "make test, 1 of 3: packages that the tests hold minidock against (docker, podman, skopeo, ...)"
	@$(MAKE) --no-print-directory test-needs
	@echo "make test, 2 of 3: lint"
	@$(MAKE) --no-print-directory lint
	@echo "make test, 3 of 3: all tests; a quarter of an hour on two processors. A Docker or a podman"
	@echo "of this machine, and their containers, stay as they are."
	$(BIN)/pytest -n $(JOBS) --dist loadgroup

vm-test:
	./needs.sh vm $(if $(filter arm64,$(ARCH)),arm64)
	$(PYTHON) tests/vm/run.py $(if $(ARCH),--arch $(ARCH)) \
	    $(if $(TESTS),-- -n 2 --dist loadgroup -q $(TESTS))

# Some tests look at what they import or ask of the kernel themselves, and fail here: not the figure.
coverage: test-needs
	rm -rf build/coverage
	mkdir -p build/coverage
	chmod 1777 build/coverage  # commands of ordinary users write there, too
	-$(BIN)/coverage run -m pytest -n $(JOBS) --dist loadgroup $(TESTS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

docs: test-needs
	MINIDOCK_WRITE_DOCS=1 $(BIN)/pytest -q tests/e2e/test_how_it_works.py

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

# Resolved by the oldest Python of pyproject.toml: newer ones take what it takes. Without pip's own
# configuration of this machine, whose packages nobody else has.
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
