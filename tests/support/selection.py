"""Which tests run in the disposable machine (make vm-test), and why the others do not.

The kernel's and the e2e tests do: there is cgroup v2 with all controllers, and systemd, which the
machine that runs the other suite may not have. Those are left out whose answer is the same wherever
they run, and which cost minutes under emulation. Elsewhere those are left out that need a module of
the machine's kernel. They are deselected by a rule that stands here; nothing is skipped for want of
a program.
"""

from __future__ import annotations

import os

import pytest

SUITES = ("tests/kernel/", "tests/e2e/")

_OTHER_ENGINES = "beside docker, podman and skopeo, which are not in the machine"
_ARCHIVES = "archives and their bytes, which no cgroup and no systemd has a part in"
_OTHER_FIREWALL = "by iptables-legacy: a machine has one of both kinds, and this one iptables-nft"
_REGISTRY = "with docker-registry, which is not in the machine"
_BUILDS = "builds: their steps are containers as all others, which test_build_mounts.py runs there"
_PAGES = "the docs' pages, which show what a machine like the other suite's prints"
_INTERNET = "fetches packages from the internet"
_BY_FUSE = "on a disk logged by FUSE: here it is by dm-log-writes"
_BY_DEVICE_MAPPER = "by dm-log-writes, a module of the disposable machine's kernel"
_BROWSER = "in Chromium, which is not in the machine"
_IN_C = "labs in C: there is no compiler in the machine"

MODULES = {
    "tests/kernel/test_daemons_apart.py": _OTHER_ENGINES,
    "tests/kernel/test_networks_beside_docker.py": _OTHER_ENGINES,
    "tests/e2e/test_build.py": _BUILDS,
    "tests/e2e/test_build_beside_docker.py": _OTHER_ENGINES,
    "tests/e2e/test_build_cache.py": _BUILDS,
    "tests/e2e/test_build_context.py": _BUILDS,
    "tests/e2e/test_build_failures.py": _BUILDS,
    "tests/e2e/test_build_network.py": _BUILDS,
    "tests/e2e/test_build_terminal.py": _BUILDS,
    "tests/e2e/test_cli_beside_docker.py": _OTHER_ENGINES,
    "tests/e2e/test_exchange.py": _OTHER_ENGINES,
    "tests/e2e/test_how_it_works.py": _PAGES,
    "tests/e2e/test_image_make.py": _BUILDS,
    "tests/e2e/test_images_beside_docker.py": _OTHER_ENGINES,
    "tests/e2e/test_registry_login.py": _REGISTRY,
    "tests/e2e/test_registry_misbehaving.py": _REGISTRY,
    "tests/e2e/test_registry_pull.py": _REGISTRY,
    "tests/e2e/test_registry_push.py": _REGISTRY,
    "tests/e2e/test_runtime_engines.py": _OTHER_ENGINES,
    "tests/e2e/test_large_layers.py": _ARCHIVES,
    "tests/kernel/test_hostile_archives.py": _ARCHIVES,
    "tests/kernel/test_images.py": _ARCHIVES,
    "tests/e2e/test_install.py": _INTERNET,
    "tests/e2e/test_where_pages.py": _PAGES,
    "tests/e2e/test_look_page.py": _BROWSER,
}
OF_AN_ARCHITECTURE = (
    "tests/unit/test_syscall_tables.py",
    "tests/unit/test_seccomp_filter.py",
    "tests/unit/test_seccomp_profile.py",
)
"""Unit tests that the other suite, on x86_64, cannot do for arm64."""
FIXTURES = {
    "docker": _OTHER_ENGINES,
    "docker_networked": _OTHER_ENGINES,
    "base_images": _INTERNET,
}


def why_not_in_vm(item: pytest.Item) -> str:
    """Why this test stays out of the disposable machine; empty for one that runs there."""
    path = item.nodeid.partition("::")[0]
    if path in OF_AN_ARCHITECTURE and os.uname().machine != "x86_64":
        return ""
    if not path.startswith(SUITES):
        return "needs no machine of its own"
    if path in MODULES:
        return MODULES[path]
    if item.get_closest_marker("compiler"):
        return _IN_C
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    if _is_by(parameters, "fuse-"):
        return _BY_FUSE
    if "docker" in parameters.values():
        return _OTHER_ENGINES
    if "legacy" in parameters.values():
        return _OTHER_FIREWALL
    fixtures = getattr(item, "fixturenames", ())
    return next((why for name, why in FIXTURES.items() if name in fixtures), "")


def why_only_in_vm(item: pytest.Item) -> str:
    """Why this test runs in the disposable machine alone; empty for one that runs elsewhere too."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return _BY_DEVICE_MAPPER if _is_by(parameters, "dm-") else ""


def _is_by(parameters: dict[str, object], logger: str) -> bool:
    """Whether a test's disk logs its writes by this: test_lost_writes.py."""
    return str(parameters.get("disk", "")).startswith(logger)
