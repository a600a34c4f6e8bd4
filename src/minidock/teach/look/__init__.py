"""look: a journal as a picture that replays, in one file; and its summary for a terminal."""
