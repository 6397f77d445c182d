"""The SDK itself: its JSON, its time, its jobs, and whether it still has the types of the contract."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import sys
import tempfile
import textwrap
import time
import typing
import unittest
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import roundtrip as rt  # noqa: E402
from fake_suite import START, FakeSuite, Refused  # noqa: E402

ADAPTERS = Path(__file__).parent.parent.parent
CONTRACT = "\n".join(path.read_text() for path in sorted((ADAPTERS / "contract/src").glob("*.rs")))


def kebab(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


def body_of(kind: str, name: str) -> str | None:
    """What the contract's source has between the braces of a type."""
    found = re.search(rf"^pub {kind} {name} \{{\n(.*?)^\}}", CONTRACT, re.MULTILINE | re.DOTALL)
    return found.group(1) if found else None


def classes(base: type) -> list[type]:
    found = [one for one in vars(rt).values() if isinstance(one, type) and one.__module__ == "roundtrip"]
    return [one for one in found if one is not base and issubclass(one, base)]


class ContractTest(unittest.TestCase):
    def test_words_are_those_of_the_contract(self) -> None:
        compared = 0
        for kind in classes(rt.Word):
            body = body_of("enum", {"Choice": "PointChoice"}.get(kind.__name__, kind.__name__))
            assert body is not None, f"the contract has no {kind.__name__}"
            wanted = [kebab(name) for name in re.findall(r"^    (\w+)(?:\(|,|$)", body, re.MULTILINE)]
            known = {member.value for member in kind}  # type: ignore[attr-defined]
            if kind is rt.Choice:
                known.add("custom")
            self.assertEqual(set(wanted), known, kind.__name__)
            compared += 1
        self.assertGreater(compared, 20)

    def test_fields_are_those_of_the_contract(self) -> None:
        compared = 0
        for name, kind in vars(rt).items():
            if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
                continue
            body = body_of("struct", {"CoreFailure": "CoreError"}.get(name, name))
            if body is None:
                continue
            wanted = set(re.findall(r"^    pub (\w+):", body, re.MULTILINE))
            known = {"class" if one.name == "class_" else one.name for one in dataclasses.fields(kind)}
            self.assertEqual(wanted, known, name)
            compared += 1
        self.assertGreater(compared, 30)

    def test_methods_are_those_of_the_contract(self) -> None:
        traits: list[tuple[str, type, dict[str, str]]] = [
            ("ReplicationCore: Send + Sync", rt.Core, {"jobs": "jobs_list"}),
            ("Platform: Send + Sync", rt.Platform, {}),
        ]
        for trait, kind, renamed in traits:
            body = body_of("trait", re.escape(trait))
            assert body is not None
            signatures = re.findall(r"async fn (\w+)\(\s*&self,?(.*?)\) ->", body, re.DOTALL)
            self.assertGreater(len(signatures), 20)
            for name, parameters in signatures:
                method = getattr(kind, renamed.get(name, name))
                wanted = re.findall(r"(\w+):", parameters)
                wanted = [one.lstrip("_") for one in wanted]
                code = method.__code__
                self.assertEqual(wanted, list(code.co_varnames[1 : code.co_argcount]), name)


class ProtocolTest(unittest.TestCase):
    """The examples of the protocol's own document, read and written by the SDK."""

    def test_each_example_survives(self) -> None:
        document = json.loads((ADAPTERS / "wire/openrpc.json").read_text())
        read = 0
        for method in document["methods"]:
            scope, _, name = method["name"].partition(".")
            if scope not in ("core", "platform"):
                continue
            own = getattr(rt.Core if scope == "core" else rt.Platform, {"jobs": "jobs_list"}.get(name, name))
            hints = typing.get_type_hints(own)
            for example in method["examples"]:
                values = {one["name"]: one["value"] for one in example["params"] if one["name"] != "site"}
                for parameter, value in values.items():
                    again = rt.to_json(rt.from_json(hints[parameter], value, method["name"]))
                    self.assertEqual(value, given(again, value), f"{method['name']}: {parameter}")
                result = example["result"]["value"]
                if hints["return"] not in (bytes, type(None)):
                    again = rt.to_json(rt.from_json(hints["return"], result, method["name"]))
                    self.assertEqual(result, given(again, result), method["name"])
                read += 1
        self.assertGreater(read, 55)


def given(value: Any, like: Any) -> Any:
    """The part of a value that another one has, too: members of newer versions are left out."""
    if isinstance(value, dict) and isinstance(like, dict):
        return {key: given(value[key], like[key]) for key in like if key in value}
    if isinstance(value, list) and isinstance(like, list) and len(value) == len(like):
        return [given(one, other) for one, other in zip(value, like)]
    return value


class JsonTest(unittest.TestCase):
    def test_values_survive(self) -> None:
        request = rt.FailoverRequest(
            item=rt.ItemId("item"),
            kind=rt.FailoverKind.PLANNED,
            direction=rt.Direction.PRIMARY_TO_RECOVERY,
            point=rt.Custom(rt.PointId("p")),
            shut_down_source=True,
            shutdown_within=5,
        )
        data = rt.to_json(request)
        self.assertEqual(({"custom": "p"}, None), (data["point"], data["alternate"]))
        self.assertEqual(request, rt.from_json(rt.FailoverRequest, data))
        self.assertEqual(rt.Choice.LATEST, rt.from_json(rt.PointChoice, "latest"))
        self.assertEqual({"item": "a"}, rt.to_json(rt.JobSubject(item=rt.ItemId("a"))))
        self.assertEqual([["a", 1]], rt.to_json(rt.from_json(list[tuple[str, int]], [["a", 1]])))

    def test_newer_members_are_ignored_and_older_ones_have_defaults(self) -> None:
        data = {"id": "v", "size": 1, "parent": None, "allocated": 0, "new": 1}
        self.assertEqual(rt.VolumeView(rt.VolumeId("v"), 1, None, 0), rt.from_json(rt.VolumeView, data))

    def test_errors_say_where(self) -> None:
        for kind, data, where in [
            (rt.VolumeView, {"id": "v"}, "value: size is missing"),
            (rt.VolumeView, {"id": 1, "size": 1, "parent": None, "allocated": 0}, "value.id: 1 is no str"),
            (list[rt.Health], ["healthy", "odd"], 'value[1]: "odd" is no Health'),
            (int, True, "value: true is no int"),
            (rt.PointChoice, {"other": 1}, "is no Choice"),
        ]:
            with self.assertRaisesRegex(rt.ProtocolError, re.escape(where)):
                rt.from_json(kind, data)


class CoreTest(unittest.IsolatedAsyncioTestCase):
    """Cores in processes of their own, each written in a test."""

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    async def suite(self, methods: str, virtual: bool = True) -> FakeSuite:
        file, path = self.folder / "core.py", str(ADAPTERS / "python")
        body = textwrap.indent(textwrap.dedent(methods), "    ")
        head = f"import sys, asyncio\nsys.path.insert(0, {path!r})\nimport roundtrip as rt\n"
        core = f"class Mine(rt.Core):\n    name = 'mine'\n{body}\nrt.run(Mine())\n"
        file.write_text(head + core)
        suite = FakeSuite(self.folder, [sys.executable, str(file)], virtual)
        return await self.enterAsyncContext(suite)

    async def test_sleeping_follows_the_suites_clock(self) -> None:
        suite = await self.suite("""
            async def check_configuration(self, item: rt.ItemId) -> rt.ItemView:
                before = await self.clock.now()
                await asyncio.sleep(3600)
                try:
                    await asyncio.wait_for(asyncio.Event().wait(), 60)
                except TimeoutError:
                    pass
                await self.clock.sleep(24 * 3600 * 1000)
                raise rt.CoreError(rt.ErrorCode.BUSY, str(await self.clock.now() - before))
        """)
        started = time.monotonic()
        with self.assertRaises(Refused) as refused:
            await suite.call("check_configuration", item="item")
        self.assertEqual(str((3600 + 60 + 24 * 3600) * 1000), refused.exception.data["message"])
        self.assertLess(time.monotonic() - started, 20)

    async def test_time_stands_still_while_programs_and_threads_work(self) -> None:
        suite = await self.suite("""
            async def opened(self) -> None:
                self.spawn(self.tick())

            async def tick(self) -> None:
                while True:
                    await self.clock.sleep(1)

            async def check_configuration(self, item: rt.ItemId) -> rt.ItemView:
                await rt.execute("sleep", "0.3")
                await asyncio.to_thread(__import__("time").sleep, 0.3)
                process = await asyncio.create_subprocess_shell("sleep 0.3")
                await process.wait()
                raise rt.CoreError(rt.ErrorCode.BUSY, str(await self.clock.now()))
        """)
        with self.assertRaises(Refused) as refused:
            await suite.call("check_configuration", item="item")
        self.assertLessEqual(int(refused.exception.data["message"]) - START, 3)

    async def test_system_time_is_the_hosts(self) -> None:
        suite = await self.suite(
            """
            async def check_configuration(self, item: rt.ItemId) -> rt.ItemView:
                await self.clock.sleep(20)
                raise rt.CoreError(rt.ErrorCode.BUSY, str(await self.clock.now()))
            """,
            virtual=False,
        )
        with self.assertRaises(Refused) as refused:
            await suite.call("check_configuration", item="item")
        self.assertLess(abs(int(refused.exception.data["message"]) - time.time() * 1000), 60_000)

    async def test_a_cancelled_request_ends(self) -> None:
        suite = await self.suite("""
            async def watch_points(self, item: rt.ItemId, count: int) -> rt.ItemView:
                await asyncio.Event().wait()
                raise AssertionError
        """)
        asking = asyncio.create_task(suite.call("watch_points", item="item", count=1))
        await suite.settled()
        suite.notify("rpc.cancel", {"id": suite.last_id})
        with self.assertRaises(Refused) as refused:
            await asking
        self.assertEqual(-32800, refused.exception.code)

    async def test_wrong_requests_get_the_codes_of_the_protocol(self) -> None:
        suite = await self.suite("""
            async def check_configuration(self, item: rt.ItemId) -> rt.ItemView:
                raise ValueError("a bug")
        """)
        wrong: list[tuple[str, dict[str, Any], int]] = [
            ("spawn", {}, -32601),
            ("_ended", {}, -32601),
            ("nonsense", {}, -32601),
            ("commit", {"item": 1}, -32602),
            ("check_configuration", {"item": "item"}, -32603),
            ("commit", {"item": "item"}, -32000),
        ]
        for method, params, code in wrong:
            with self.assertRaises(Refused) as refused:
                await suite.call(method, **params)
            self.assertEqual(code, refused.exception.code, method)
        self.assertEqual([], (await suite.call("capabilities"))["operations"])

    async def test_a_job_shows_its_steps_and_continues_after_a_kill(self) -> None:
        suite = await self.suite("""
            async def opened(self) -> None:
                self.gate = self.state_dir / "gate"

            async def commit(self, item: rt.ItemId) -> rt.JobId:
                return await self.jobs.start(rt.JobKind.COMMIT, item, self.work, item)

            async def work(self, job: rt.Job, item: rt.ItemId) -> None:
                async with job.step("one") as step:
                    step.progress = (1, 2)
                async with job.step("optional", optional=True):
                    raise rt.CoreError(rt.ErrorCode.PLATFORM, "not now")
                async with job.step("two"):
                    if not self.gate.exists():
                        self.gate.touch()
                        await asyncio.Event().wait()
        """)
        job = await suite.call("commit", item="item")
        view = await suite.call("job", job=job)
        while len(view["steps"]) < 3:
            view = await suite.call("watch_job", job=job, after=view["revision"])
        await suite.settled()
        self.assertEqual("in-progress", view["state"])
        await suite.kill()
        await suite.start()
        view = await suite.ended(job)
        self.assertEqual("completed-with-warning", view["state"])
        found = [(step["name"], step["state"]) for step in view["steps"]]
        self.assertEqual([("one", "done"), ("optional", "warning"), ("two", "done")], found)
        self.assertEqual("not now", view["steps"][1]["note"])
        self.assertTrue(all(step["took"] is not None for step in view["steps"]))

    async def test_standard_streams_serve_without_a_socket(self) -> None:
        await self.suite("async def opened(self): print('to standard error')")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(self.folder / "core.py"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin"},
        )
        assert process.stdin and process.stdout
        hello = await asyncio.wait_for(process.stdout.readline(), 20)
        self.assertIn(b'"method":"suite.connect"', hello)
        answer = '{"jsonrpc":"2.0","id":1,"result":{"protocol":"1.0","time":"system","sites":[],"state_dir":%s}}'
        state = f'"{self.folder / "other"}"'
        process.stdin.write((answer % state).encode() + b"\n")
        process.stdin.write(b'{"jsonrpc":"2.0","id":"x","method":"core.capabilities","params":{}}\n')
        found = await asyncio.wait_for(process.stdout.readline(), 20)
        self.assertIn(b'"name":"mine 0"', found)
        process.stdin.close()
        self.assertEqual(0, await asyncio.wait_for(process.wait(), 20))

    async def test_a_core_that_listens_serves_each_connection_in_a_process_of_its_own(self) -> None:
        await self.suite("async def opened(self): print('process', __import__('os').getpid())")
        path = str(self.folder / "listening")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(self.folder / "core.py"), "--listen", path),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout and process.stderr
        said = await asyncio.wait_for(process.stderr.readline(), 20)
        self.assertEqual(f"listening at {path}", said.decode().strip())
        served = []
        for number in range(2):
            reader, writer = await asyncio.open_unix_connection(path)
            hello = json.loads(await asyncio.wait_for(reader.readline(), 20))
            self.assertEqual(("suite.connect", "mine"), (hello["method"], hello["params"]["name"]))
            welcome = {"time": "system", "sites": [], "state_dir": str(self.folder / str(number))}
            ask = {"jsonrpc": "2.0", "id": "x", "method": "core.capabilities", "params": {}}
            for message in ({"jsonrpc": "2.0", "id": hello["id"], "result": welcome}, ask):
                writer.write(json.dumps(message).encode() + b"\n")
            found = json.loads(await asyncio.wait_for(reader.readline(), 20))
            self.assertEqual("mine 0", found["result"]["name"])
            writer.close()
            served.append(await asyncio.wait_for(process.stdout.readline(), 20))
        self.assertEqual(2, len({*served}))
        process.kill()
        await process.wait()


if __name__ == "__main__":
    unittest.main()
