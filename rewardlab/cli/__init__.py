"""The command line: parse, call the library, print where the result went."""
