"""A small suite for tests of cores: sites whose volumes are files, and a virtual clock."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

logging.getLogger("asyncio").setLevel(logging.ERROR)
Json = dict[str, Any]
SIZE = 64 * 1024
START = 1_000_000


class Refused(Exception):
    """An error answer: its code and its data."""

    def __init__(self, code: int, data: Any) -> None:
        super().__init__(str(data))
        self.code, self.data = code, data


class FakeSite:
    """A site with machines. A volume is a file, and its URI is the path of the file."""

    def __init__(self, name: str, kind: str, folder: Path) -> None:
        self.name, self.kind, self.folder = name, kind, folder
        self.machines: dict[str, Json] = {}
        self.parents: dict[str, str | None] = {}
        self.open: dict[str, str] = {}
        self.calls: list[str] = []
        self.fail: dict[str, str] = {}
        self._numbers = itertools.count(1)
        folder.mkdir()

    def path(self, volume: str) -> Path:
        return self.folder / volume

    def volumes(self) -> list[str]:
        return sorted(self.parents)

    def install(self, name: str, disks: list[str]) -> None:
        spec: Json = {"id": name, "firmware": "bios", "os": "linux", "memory": 1 << 30}
        spec["disks"] = [[disk, f"{name}-{disk}"] for disk in disks]
        spec["guest"] = {"release": "", "agent": [9, 60], "dhcp_service": True, "boot_drivers": []}
        for disk in disks:
            self.create_volume(f"{name}-{disk}", SIZE, None)
        self.create_machine(spec)
        self.machines[name]["power"] = "on"

    def refuse(self, kind: str, message: str) -> Refused:
        return Refused(-32001, {"site": self.name, "kind": kind, "message": message})

    def call(self, method: str, params: Json, now: int) -> Any:
        self.calls.append(method)
        if kind := self.fail.pop(method, None):
            raise self.refuse(kind, f"{method} fails on purpose")
        if method in ("open_snapshot", "open_snapshots"):
            params["now"] = now
        found: Callable[..., Any] = getattr(self, method)
        return found(**params)

    def site(self) -> Json:
        return {"id": self.name, "kind": self.kind, "boot_drivers": []}

    def infrastructure(self) -> list[Json]:
        server = {"type": "configuration-server", "machines": [], "agent": [9, 60]}
        return [{"id": "server", "connected": True, "kind": server}]

    def machine(self, id: str) -> Json:
        if id not in self.machines:
            raise self.refuse("not-found", f"no machine {id}")
        return self.machines[id]

    def all_machines(self) -> list[Json]:
        return list(self.machines.values())

    def create_machine(self, spec: Json) -> Json:
        view: Json = {**spec, "power": "off"}
        view["disks"] = [{"id": disk, "volume": volume, "size": SIZE} for disk, volume in spec["disks"]]
        self.machines[spec["id"]] = view
        return view

    def delete_machine(self, id: str) -> None:
        self.machines.pop(id, None)

    def start(self, id: str) -> None:
        self.machine(id)["power"] = "on"

    def power_off(self, id: str) -> None:
        self.machine(id)["power"] = "off"

    def shut_down(self, id: str, within: int) -> None:
        self.power_off(id)

    def open_snapshots(self, request: Json, now: int) -> list[Json]:
        return [self.open_snapshot(machine, since, now) for machine, since in request["machines"]]

    def open_snapshot(self, machine: str, since: str | None, now: int) -> Json:
        id, disks = f"snapshot-{next(self._numbers)}", list[Json]()
        for disk in self.machine(machine)["disks"]:
            copy = self.path(f"{id}-{disk['id']}")
            copy.write_bytes(self.path(disk["volume"]).read_bytes())
            disks.append({"id": disk["id"], "size": SIZE, "uri": str(copy), "changed": None})
        self.open[id] = machine
        return {"id": id, "taken_at": now, "change_id": id, "disks": disks}

    def close_snapshot(self, snapshot: str, acknowledge: str) -> None:
        self.open.pop(snapshot, None)

    def stop_tracking(self, machine: str) -> None:
        pass

    def create_volume(self, id: str, size: int, datastore: str | None) -> Json:
        if id in self.parents:
            raise self.refuse("exists", f"there is a volume {id}")
        self.path(id).write_bytes(bytes(size))
        self.parents[id] = None
        return {"id": id, "size": size, "parent": None, "allocated": 0}

    def volume(self, id: str) -> Json:
        if id not in self.parents:
            raise self.refuse("not-found", f"no volume {id}")
        return {"id": id, "size": SIZE, "parent": self.parents[id], "allocated": 0}

    def derive_volume(self, id: str, parent: str) -> Json:
        view = self.create_volume(id, SIZE, None)
        self.path(id).write_bytes(self.path(parent).read_bytes())
        self.parents[id] = parent
        return {**view, "parent": parent}

    def merge_volumes(self, top: str, base: str) -> None:
        if top in self.parents:
            self.path(base).write_bytes(self.path(top).read_bytes())
            del self.parents[top]
            for machine in self.machines.values():
                for disk in machine["disks"]:
                    disk["volume"] = base if disk["volume"] == top else disk["volume"]

    def delete_volume(self, id: str) -> None:
        if id in self.parents.values():
            raise self.refuse("failed", f"{id} has a delta")
        self.parents.pop(id, None)

    def export_volume(self, id: str, access: str) -> Json:
        if id not in self.parents:
            raise self.refuse("not-found", f"no volume {id}")
        self.open[f"export-{id}"] = id
        return {"id": f"export-{id}", "uri": str(self.path(id))}

    def close_export(self, id: str) -> None:
        self.open.pop(id, None)

    def close_all(self) -> None:
        self.open.clear()


class FakeSuite:
    """Starts a core and speaks to it. `async with` starts and ends it."""

    def __init__(self, folder: Path, command: list[str], virtual: bool = True) -> None:
        self.folder, self.command, self.virtual = folder, command, virtual
        self.sites = {
            "primary": FakeSite("primary", "hyper-v", folder / "primary"),
            "recovery": FakeSite("recovery", "azure", folder / "recovery"),
        }
        self.now, self.sent, self.idle = START, 0, -1
        self.hello: Json = {}
        self.is_idle = asyncio.Event()
        self._sleeping: list[tuple[int, int]] = []
        self._ids, self._waiting = itertools.count(1), dict[int, asyncio.Future[Any]]()
        self._connected: asyncio.Future[None]

    async def __aenter__(self) -> FakeSuite:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        self._server.close()

    async def start(self) -> None:
        """Starts the core, also again on the same state."""
        socket = str(self.folder / "socket")
        self._connected = asyncio.get_running_loop().create_future()
        self._server = await asyncio.start_unix_server(self._serve, socket, limit=1 << 24)
        variables = {"ROUNDTRIP_CORE_SOCKET": socket, "ROUNDTRIP_CORE_STATE_DIR": str(self.folder)}
        self.process = await asyncio.create_subprocess_exec(
            *self.command, env={**os.environ, **variables}
        )
        await asyncio.wait_for(self._connected, 20)

    async def kill(self) -> None:
        """Kills the core as a power cut does."""
        self.process.kill()
        await self.process.wait()
        self._server.close()
        self._sleeping.clear()

    async def call(self, method: str, **params: Any) -> Any:
        """Asks the core; raises `Refused` with the error it answers."""
        number = self.last_id = next(self._ids)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        self._send({"id": number, "method": f"core.{method}", "params": params})
        return await asyncio.wait_for(self._waiting[number], 20)

    def notify(self, method: str, params: Json) -> None:
        """Tells the core something that needs no answer."""
        self._send({"method": method, "params": params})

    async def ended(self, job: str) -> Json:
        """The job when it has ended."""
        view: Json = await self.call("job", job=job)
        while view["ended"] is None:
            view = await self.call("watch_job", job=job, after=view["revision"])
        return view

    async def settled(self) -> None:
        """Waits until the core has nothing left to do."""
        await asyncio.wait_for(self.is_idle.wait(), 20)

    def _send(self, message: Json) -> None:
        self.sent += 1
        self.is_idle.clear()
        self._writer.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer, self.sent, self.idle = writer, 0, -1
        # A core that is killed resets the connection.
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                self._handle(json.loads(line))
        writer.close()

    def _handle(self, message: Json) -> None:
        if message.get("method") == "clock.idle":
            self.idle = message["params"]["received"]
            if self.idle == self.sent:
                self.is_idle.set()
                self._advance()
        elif "method" in message:
            self._answer(message)
        else:
            self._settle(self._waiting.pop(message["id"]), message)

    def _settle(self, future: asyncio.Future[Any], message: Json) -> None:
        if future.done():
            return
        if error := message.get("error"):
            future.set_exception(Refused(error["code"], error.get("data", error["message"])))
        else:
            future.set_result(message["result"])

    def _advance(self) -> None:
        """Moves the clock to the next time for which the core waits, if the test waits, too."""
        if self.virtual and self._waiting and self._sleeping:
            self._sleeping.sort()
            self.now, number = self._sleeping.pop(0)
            self.notify("clock.time", {"time": self.now})
            self._send({"id": number, "result": None})

    def _answer(self, message: Json) -> None:
        number, method, params = message.get("id", 0), message["method"], message["params"]
        try:
            if method == "clock.sleep_until":
                if params["time"] > self.now:
                    self._sleeping.append((params["time"], number))
                    return
                result: Any = None
            elif method == "clock.now":
                result = self.now
            elif method == "suite.connect":
                result = self._connect(params)
            elif method == "rpc.cancel":
                self._sleeping = [one for one in self._sleeping if one[1] != params["id"]]
                return
            else:
                name = method.removeprefix("platform.")
                site = self.sites[params.pop("site")]
                result = site.call({"machines": "all_machines"}.get(name, name), params, self.now)
            self._send({"id": number, "result": result})
        except Refused as error:
            self._send({"id": number, "error": {"code": error.code, "message": "", "data": error.data}})

    def _connect(self, hello: Json) -> Json:
        self.hello = hello
        self._connected.set_result(None)
        time = "virtual" if self.virtual else "system"
        state = str(self.folder / "state")
        return {
            "protocol": "1.0", "time": time, "now": self.now, "state_dir": state,
            "sites": list(self.sites), "run": "r",
        }  # fmt: skip


def python_core(file: str) -> list[str]:
    """The command that runs a core beside the SDK."""
    return [sys.executable, str(Path(__file__).parent.parent / file)]
