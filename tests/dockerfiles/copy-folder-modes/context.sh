chmod 711 d
chmod 722 d/e
