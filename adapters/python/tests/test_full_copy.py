"""`full_copy.py` against a small suite."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path
from typing import Any

from fake_suite import SIZE, FakeSuite, Refused, python_core

MINUTE = 60_000


def policy(**changes: Any) -> dict[str, Any]:
    day = 24 * 60 * MINUTE
    return {
        "source": "hyper-v", "interval": MINUTE, "retention": day, "app_consistent_every": None,
        "rpo_threshold": 15 * MINUTE, "most_points": 4, **changes,
    }  # fmt: skip


class FullCopyTest(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.suite = FakeSuite(Path(folder), python_core("full_copy.py"))
        self.primary, self.recovery = self.suite.sites["primary"], self.suite.sites["recovery"]
        self.primary.install("web", ["system", "data"])
        await self.enterAsyncContext(self.suite)

    def write(self, text: bytes) -> None:
        """Lets the guest write to both disks."""
        for disk in ("system", "data"):
            content = (text + disk.encode()).ljust(SIZE, b"\0")
            self.primary.path(f"web-{disk}").write_bytes(content)

    def content(self, machine: str) -> list[bytes]:
        disks = self.recovery.machine(machine)["disks"]
        return [self.recovery.path(disk["volume"]).read_bytes().rstrip(b"\0") for disk in disks]

    async def protect(self, **changes: Any) -> None:
        self.write(b"first ")
        await self.suite.call("create_policy", id="standard", policy=policy(**changes))
        target = {"machine": "web-dr", "memory": 1 << 30, "network": "production"}
        request = {
            "item": "item", "primary": "primary", "machine": "web", "recovery": "recovery",
            "target": target, "policy": "standard",
        }  # fmt: skip
        job = await self.suite.call("enable_protection", request=request)
        self.assertEqual("completed", (await self.suite.ended(job))["state"])

    def failover(self, point: Any = "latest", **changes: Any) -> dict[str, Any]:
        return {
            "item": "item", "kind": "unplanned", "direction": "primary-to-recovery", "point": point,
            "shut_down_source": False, "shutdown_within": MINUTE, **changes,
        }  # fmt: skip

    async def points(self, count: int) -> list[dict[str, Any]]:
        view = await self.suite.call("watch_points", item="item", count=count)
        points: list[dict[str, Any]] = view["points"]
        return points

    async def test_capabilities_follow_from_the_methods(self) -> None:
        found = await self.suite.call("capabilities")
        wanted = [
            "unplanned-failover", "test-failover", "test-failover-cleanup", "change-point", "commit",
            "disable-protection",
        ]  # fmt: skip
        self.assertEqual(sorted(wanted), sorted(found["operations"]))
        with self.assertRaises(Refused) as refused:
            await self.suite.call("reverse_replicate", item="item")
        self.assertEqual("not-supported", refused.exception.data["code"])

    async def test_points_follow_the_interval_and_the_limit(self) -> None:
        await self.protect()
        points = await self.points(6)
        self.assertEqual(4, len(points))
        self.assertEqual([MINUTE] * 3, [b["time"] - a["time"] for a, b in zip(points, points[1:])])
        await self.suite.settled()
        self.assertEqual(8, len(self.recovery.volumes()))
        self.assertEqual({}, self.primary.open | self.recovery.open)

    async def test_failover_starts_the_chosen_point_and_commit_ends_replication(self) -> None:
        await self.protect()
        [first] = await self.points(1)
        self.write(b"second ")
        await self.points(3)
        request = self.failover({"custom": first["id"]})
        job = await self.suite.ended(await self.suite.call("failover", request=request))
        self.assertEqual(("completed", None), (job["state"], job["error"]))
        self.assertEqual([b"first system", b"first data"], self.content("web-dr"))
        job = await self.suite.ended(await self.suite.call("change_point", item="item", point="latest"))
        self.assertEqual("completed", job["state"])
        self.assertEqual([b"second system", b"second data"], self.content("web-dr"))
        job = await self.suite.ended(await self.suite.call("commit", item="item"))
        self.assertEqual("completed", job["state"])
        await self.suite.settled()
        used = sorted(disk["volume"] for disk in self.recovery.machine("web-dr")["disks"])
        self.assertEqual(used, self.recovery.volumes())
        view = await self.suite.call("item", item="item")
        self.assertEqual(("committed", []), (view["protection"]["phase"], view["points"]))

    async def test_with_a_shutdown_nothing_is_lost(self) -> None:
        await self.protect()
        self.write(b"last ")
        request = self.failover(shut_down_source=True)
        job = await self.suite.ended(await self.suite.call("failover", request=request))
        self.assertEqual("completed", job["state"], job)
        self.assertEqual([b"last system", b"last data"], self.content("web-dr"))
        self.assertIn("shut down source", [step["name"] for step in job["steps"]])

    async def test_a_shutdown_that_fails_is_a_warning(self) -> None:
        await self.protect()
        self.primary.fail["shut_down"] = "timed-out"
        request = self.failover(shut_down_source=True)
        job = await self.suite.ended(await self.suite.call("failover", request=request))
        self.assertEqual("completed-with-warning", job["state"])
        self.assertEqual("on", self.recovery.machine("web-dr")["power"])

    async def test_test_failover_leaves_nothing_behind(self) -> None:
        await self.protect()
        before = self.recovery.volumes()
        request = {"item": "item", "point": "latest-processed", "network": "isolated"}
        job = await self.suite.ended(await self.suite.call("test_failover", request=request))
        self.assertEqual("completed", job["state"], job)
        self.assertEqual("isolated", self.recovery.machine("web-dr-test")["network"])
        with self.assertRaises(Refused):
            await self.suite.call("test_failover", request=request)
        job = await self.suite.ended(await self.suite.call("clean_up_test_failover", item="item"))
        self.assertEqual("completed", job["state"])
        self.assertEqual({}, self.recovery.machines)
        self.assertLessEqual(set(before), set(self.recovery.volumes()))
        view = await self.suite.call("item", item="item")
        self.assertEqual("performed", view["test_failover_status"])

    async def test_a_failed_test_failover_removes_what_it_made(self) -> None:
        await self.protect()
        self.recovery.fail["create_machine"] = "failed"
        request = {"item": "item", "point": "latest", "network": "isolated"}
        job = await self.suite.ended(await self.suite.call("test_failover", request=request))
        self.assertEqual(("failed", "platform"), (job["state"], job["error"]["code"]))
        self.assertEqual([], [name for name in self.recovery.volumes() if "-copy-" in name])

    async def test_a_failed_transfer_shows_and_the_next_one_heals_it(self) -> None:
        await self.protect()
        self.primary.fail["open_snapshots"] = "unreachable"
        view = await self.suite.call("watch_health", item="item", known="healthy")
        self.assertEqual("critical", view["health"])
        view = await self.suite.call("watch_health", item="item", known="critical")
        self.assertEqual("healthy", view["health"])

    async def test_a_killed_core_continues(self) -> None:
        await self.protect()
        await self.suite.kill()
        self.write(b"later ")
        await self.suite.start()
        await self.points(3)
        job = await self.suite.ended(await self.suite.call("failover", request=self.failover()))
        self.assertEqual("completed", job["state"])
        self.assertEqual([b"later system", b"later data"], self.content("web-dr"))

    async def test_refusals_change_nothing(self) -> None:
        await self.protect()
        wrong = self.failover(direction="recovery-to-primary")
        expired = self.failover({"custom": "item-point-999"})
        unknown = self.failover({"custom": "nonsense"})
        group = self.failover("latest-multi-vm")
        codes = ["wrong-direction", "point-expired", "unknown-id", "multi-vm-needs-group"]
        for request, code in zip([wrong, expired, unknown, group], codes):
            with self.assertRaises(Refused) as refused:
                await self.suite.call("failover", request=request)
            self.assertEqual(code, refused.exception.data["code"])
        self.assertEqual(1, len(await self.suite.call("jobs", filter={})))

    async def test_ended_protection_leaves_nothing_behind(self) -> None:
        await self.protect()
        job = await self.suite.ended(await self.suite.call("disable_protection", item="item"))
        self.assertEqual("completed", job["state"], job)
        self.assertEqual([], self.recovery.volumes())
        self.assertEqual([], await self.suite.call("items"))


if __name__ == "__main__":
    unittest.main()
