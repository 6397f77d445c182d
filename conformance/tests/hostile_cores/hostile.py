"""What hostile cores share: the connection, the handshake, and a child that must not survive them."""

import json
import os
import subprocess
import sys


def leave_child() -> None:
    """Starts a program that nobody ends, and notes both processes."""
    child = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL)
    with open(os.path.join(os.environ["ROUNDTRIP_RUN_DIR"], "processes"), "a") as file:
        file.write(f"{os.getpid()}\n{child.pid}\n")


def send(message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


received = 0


def receive() -> dict:
    global received
    line = sys.stdin.readline()
    if not line:
        sys.exit()
    received += 1
    return json.loads(line)


def connect(version: str = "1.0") -> None:
    leave_child()
    params = {"protocol": version, "name": "hostile", "version": "1", "time": ["system", "virtual"]}
    send({"jsonrpc": "2.0", "id": 1, "method": "suite.connect", "params": params})
    receive()
    idle()


def idle() -> None:
    """Says that all messages so far are handled, so that the simulated time may advance."""
    send({"jsonrpc": "2.0", "method": "clock.idle", "params": {"received": received}})


def answer(request: dict, result: object) -> None:
    send({"jsonrpc": "2.0", "id": request["id"], "result": result})


def operations() -> dict:
    names = ["unplanned-failover", "test-failover", "commit"]
    return {"name": "hostile 1", "operations": names, "plans": {"groups": 0, "items": 0}}


def job(id: str) -> dict:
    """A job that has completed."""
    step = {"name": "work", "state": "done", "started": 0, "took": 0, "note": "", "progress": None}
    return {
        "id": id,
        "subject": {"item": "web"},
        "parent": None,
        "kind": "commit",
        "direction": "primary-to-recovery",
        "state": "completed",
        "revision": 1,
        "actions": [],
        "attempt": 1,
        "plan": None,
        "steps": [step],
        "error": None,
        "started": 0,
        "ended": 0,
    }
