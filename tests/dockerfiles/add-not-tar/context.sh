echo x | gzip -n > b.gz
tar -cf d/t.tar d/t
