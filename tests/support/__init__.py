"""What tests share: the command line as a process, stores, the machine's state, other engines."""
