"""What runs in a machine of another architecture than this one's: `make vm-test ARCH=arm64`.

Its emulator is as slow as that of a machine of our own kind, and most tests would say the same
there. These are what an architecture has a part in: numbers of system calls, the filter and the
device program made of them, structures handed to the kernel, ioctls, flags of open(2); and one
container's whole life. On a machine of that architecture, `make vm-test` runs all.
"""

SMOKE = [
    # the tables, and the programs assembled of them, as this architecture loads them
    "tests/unit/test_syscall_tables.py",
    "tests/unit/test_seccomp_filter.py",
    "tests/unit/test_seccomp_profile.py",
    # the same before the kernel
    "tests/kernel/test_seccomp.py",
    "tests/kernel/test_capability.py",
    "tests/kernel/test_device_program.py",
    "tests/kernel/test_cgroup.py",
    "tests/kernel/test_netlink.py",
    # from the command line
    "tests/e2e/test_architecture.py",
    "tests/e2e/test_journey.py",
    "tests/e2e/test_cgroup_v2.py",
    "tests/e2e/test_terminal.py",
    "tests/e2e/test_walls_limits.py",
    "tests/e2e/test_walls_namespaces.py",
    "tests/e2e/test_walls_paths.py",
]
