"""The embedded queue: a SQLite file, or the memory of this process."""
