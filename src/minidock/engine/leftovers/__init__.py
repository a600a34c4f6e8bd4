"""`system check`: find, list and remove what a crash left behind.

    leftover.py         class Leftover: one object, why it is left over, how to remove it
    kernel_objects.py   mounts, links, cgroups and processes, as the kernel lists them
    firewall_rules.py   firewall rules and their chains
    store_files.py      incomplete directories and files of the store and of /run
    orphan_layers.py    layers and configs that no image refers to
    damaged.py          damaged documents, which are moved to damaged/
    lab.py              disk and image of a lab set-up without fault.json
    kept_resources.py   what a store keeps between containers: not leftovers
    check.py            looks twice, so that work in progress is not mistaken for a leftover

Nothing of a container that a monitor owns is a leftover. `system down` removes what a store keeps
between containers: the bridge, its rules, the sealed interpreter, the cgroup parent. Objects of
other stores are ignored, since only their own documents say which are in use; but the default store
lists every chain of rules whose bridge does not exist.
"""
