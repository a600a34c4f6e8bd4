mkdir -p d/empty
chmod 750 d/empty
