mkdir -p d/e
chmod 711 d/e
