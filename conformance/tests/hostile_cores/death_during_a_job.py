"""Dies while its first job runs."""

import os

import hostile

hostile.connect()
while True:
    request = hostile.receive()
    method = request.get("method")
    if method == "core.capabilities":
        hostile.answer(request, hostile.operations())
    elif method == "core.policies":
        hostile.answer(request, [])
    elif method == "core.enable_protection":
        hostile.answer(request, "job-1")
    elif method in ("core.job", "core.watch_job"):
        os.kill(os.getpid(), 9)
    elif "id" in request:
        hostile.answer(request, None)
    hostile.idle()
