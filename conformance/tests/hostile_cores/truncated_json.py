"""Answers with a part of a message."""

import sys

import hostile

hostile.connect()
request = hostile.receive()
print(('{"jsonrpc": "2.0", "id": %d, "result"' % request["id"])[:-2], flush=True)
sys.stdin.read()
