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
    "tests/kernel/test_cgroup.py::test_memory_over_the_limit_is_killed_and_counted",
    "tests/kernel/test_cgroup.py::test_frozen_processes_stand_still_until_thawed",
    # from the command line
    "tests/e2e/test_architecture.py",
    "tests/e2e/test_journey.py::test_web_server_answers_on_localhost",
    "tests/e2e/test_cgroup_v2.py::test_exec_enters_beside_an_init_that_made_cgroups_of_its_own",
    "tests/e2e/test_terminal.py",
    "tests/e2e/test_isolation_limits.py::test_too_much_memory_ends_the_container_with_137_and_says_so",
    "tests/e2e/test_isolation_limits.py"
    "::test_a_device_that_was_not_given_cannot_be_opened_though_its_node_can_be_made",
    "tests/e2e/test_isolation_namespaces.py::test_all_six_namespaces_are_new",
]
