"""Reads several requests before it answers, and then answers the last one first, which is legal."""

import hostile

TOGETHER = 8

hostile.connect()
while True:
    requests = [hostile.receive() for _ in range(TOGETHER)]
    for request in reversed(requests):
        hostile.answer(request, hostile.job(request["params"]["job"]))
    hostile.idle()
