ln -s f d/l
ln -s /nowhere d/dangling
ln -s ../out d/up
ln -s d ld
