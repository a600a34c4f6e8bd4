chmod 755 d/x
ln -s f d/l
chown -R 3:4 d
for c in '' z j J; do case $c in '') n=t.tar;; z) n=t.tar.gz;; j) n=t.tar.bz2;; J) n=t.tar.xz;; esac; tar -c${c}f $n --sort=name --mtime=2001-02-03 d; done
rm -r d
