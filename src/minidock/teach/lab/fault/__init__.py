"""Break and fix: a set-up of containers, one fault in it, and the promises that it then breaks.

    shop.py            the set-up: four containers, two networks, a volume
    setup_commands.py  the commands that create it       setup_view.py  run commands in it
    promises.py        what the set-up promises, each tested by doing it
    fault.py           what a fault is; which one a seed selects
    faults_*.py        the faults: a script that injects it, a script that fixes it
    session.py         from `lab fault SEED` to `lab check` and `--end`

A fault is real: a rule, a route, a mount, a limit of the kernel, or a word in a container's
configuration. So every tool that reads the kernel shows it.
"""
