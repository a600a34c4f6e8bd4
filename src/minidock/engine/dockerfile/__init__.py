"""The language of Dockerfiles and of .dockerignore: text in, plain data out; no file is touched."""
