"""Answers every request twice."""

import hostile

hostile.connect()
while True:
    request = hostile.receive()
    for _ in range(2):
        hostile.answer(request, hostile.operations())
