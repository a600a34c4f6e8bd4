"""A small HTTP/1.1 server: h11 for the protocol, a thread for each connection, limits for all."""
