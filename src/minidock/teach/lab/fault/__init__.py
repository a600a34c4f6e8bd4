"""Break and fix: a small set-up of containers, one fault put into it, and what it no longer keeps.

    shop.py       the set-up: four containers, two networks, a volume; the commands that make it
    promises.py   what the set-up promises, each found out by doing it
    fault.py      what a fault is; which one a seed names
    faults_*.py   the faults: a script that puts it in, a script that takes it out
    session.py    from `lab fault SEED` to `lab check` and `--end`

A fault is true: a rule, a route, a mount, a limit of the kernel, or a word in a container's
configuration. Nothing pretends, so that everything that looks at the kernel shows it.
"""
