"""API keys: long random texts that the operator hands out, kept only as hashes, in a file that is read on change."""
