"""Answers a request that nobody sent."""

import sys

import hostile

hostile.connect()
hostile.receive()
hostile.send({"jsonrpc": "2.0", "id": 4711, "result": None})
sys.stdin.read()
