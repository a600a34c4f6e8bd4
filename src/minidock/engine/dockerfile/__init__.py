"""Parsers for Dockerfiles and .dockerignore: from text to plain data, without file access."""
