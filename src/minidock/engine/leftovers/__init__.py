"""What minidock made on this machine and nothing needs any more: found, told, removed.

    leftover.py     one such thing: what it is, whose it was, how it goes
    kernel_objects.py    mounts, links, cgroups, processes: the kernel is asked, not the store
    firewall_rules.py     firewall rules and their chains
    store_files.py     what is half made, half removed or half written in the store and in /run
    lab.py       a lab's set-up that has lost its note
    kept_resources.py      what is kept for the next container, which is no residue
    check.py     twice over all of them, so that nothing on its way is taken for something left

A container that a monitor owns needs all that is its. What a store keeps between containers (the
bridge, its rules, the sealed interpreter, the parent of its cgroups) is `system down`'s to remove.
Other stores' things are not looked at: which of theirs are needed, only they know. But a chain of
rules whose bridge is not there is needed by none, and the default store lists it, whoever's it was.
"""
