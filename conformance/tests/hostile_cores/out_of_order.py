"""Answers two requests in the other order, which is legal, and has no operations."""

import hostile

hostile.connect()
waiting = []
while True:
    request = hostile.receive()
    if "id" in request:
        waiting.append(request)
    if len(waiting) == 2:
        for request in reversed(waiting):
            hostile.answer(request, hostile.operations())
        waiting = []
