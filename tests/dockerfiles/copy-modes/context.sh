chmod 755 d/x
chmod 600 d/p
chmod 2775 d
chown -R 12:34 d
chmod 4755 d/s
