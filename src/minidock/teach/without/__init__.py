"""without: a container with one wall left out, and what comes through the hole.

    isolations.py     the walls, and what each omission changes of what was asked for
    probes.py    looks and attempts, made inside by a process as the container's command would be
    witness.py   the host's side: runs the probes, and looks whether they show on the host
    report.py    the warning before, and what leaked, in words

docs/without.md has the table of probes and omissions; a test compares it with the kernel's answers.
"""
