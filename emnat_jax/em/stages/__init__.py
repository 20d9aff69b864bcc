"""One file a kind of stage: what it reads, which options it sees, how it runs, what it compiles."""
