"""Sends notifications without end."""

import hostile

hostile.connect()
while True:
    hostile.send({"jsonrpc": "2.0", "method": "core.news", "params": {}})
