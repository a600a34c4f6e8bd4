"""without: run a container without some isolation, and show what leaks.

    isolations.py  the isolations, and how each omission changes the create request
    probes.py      reads and attempts, made by a process inside, instead of the command
    witness.py     the host's side: runs the probes, and checks their effects on the host
    report.py      the warning before the run, and the report of the leaks

docs/without.md has the table of probes and omissions; a test compares it with the kernel's answers.
"""
