"""Answers with a line of 1 GiB."""

import sys

import hostile

hostile.connect()
hostile.receive()
for _ in range(1024):
    sys.stdout.write("x" * (1 << 20))
print(flush=True)
