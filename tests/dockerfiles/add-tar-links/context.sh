ln d/a d/b
ln -s /etc/passwd d/abs
ln -s ../../../x d/up
tar -cf t.tar --owner=0 --group=0 --mtime=2001-02-03 d
