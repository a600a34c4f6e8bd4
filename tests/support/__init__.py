"""What tests share: the command line as a subprocess, stores, the machine's state, other engines."""
