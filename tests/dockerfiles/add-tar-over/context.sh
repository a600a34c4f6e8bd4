tar -cf t2.tar --owner=3 --group=4 --mtime=2001-02-03 d
