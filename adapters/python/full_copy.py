#!/usr/bin/env python3
"""A replication core that copies whole disks with nbdcopy: every recovery point is a full copy."""

from contextlib import suppress
from dataclasses import dataclass, field

import roundtrip as rt
from hydrate import copy_loader, hydrate, is_due
from roundtrip import CoreError, ErrorCode, ItemId, Job, JobId, JobKind, MachineId, Operation, Phase
from roundtrip import PlatformError, Step, VolumeId

WRITE = rt.Access.WRITE


@dataclass
class Item(rt.Item):
    """An item with its volumes on the recovery side, each noted before it is created."""

    copying: list[VolumeId] = field(default_factory=list)
    target: rt.Volumes = field(default_factory=list)
    test: rt.Volumes = field(default_factory=list)
    garbage: list[VolumeId] = field(default_factory=list)


class FullCopy(rt.ItemCore[Item]):
    name, version = "full-copy", "1.0"
    several_nics = True
    item_type = Item

    async def take_point(self, item: Item, consistency: rt.Consistency) -> rt.RecoveryPoint:
        (source, target), (_, machine) = self.sites_of(item), item.view.primary
        async with source.snapshot(machine, consistency) as snapshot:
            item.garbage += item.copying  # An earlier copy was not finished.
            name = f"{item.view.id}-point-{item.next_number()}"
            item.copying = [VolumeId(f"{name}-{disk.id}") for disk in snapshot.disks]
            self.save()
            await self.collect_garbage(item)
            for disk, volume in zip(snapshot.disks, item.copying):
                await target.create_volume(volume, disk.size)
                async with target.exported(volume, WRITE) as uri:
                    await rt.execute("nbdcopy", "--flush", "--destination-is-zero", "--", disk.uri, uri)
        volumes = [(disk.id, volume) for disk, volume in zip(snapshot.disks, item.copying)]
        item.copying = []
        return rt.full_point(rt.PointId(name), snapshot, consistency, volumes)

    async def delete_point(self, item: Item, point: rt.RecoveryPoint) -> None:
        item.garbage += [volume for _, volume in point.volumes]
        self.save()
        with suppress(PlatformError):  # The next point tries again.
            await self.collect_garbage(item)

    async def collect_garbage(self, item: Item) -> None:
        for volume in list(item.garbage):
            await self.sites_of(item)[1].delete_volume(volume)
            item.garbage.remove(volume)

    def name_disks(self, item: Item, point: rt.RecoveryPoint) -> rt.Volumes:
        name = f"{item.view.id}-copy-{item.next_number()}"
        return [(disk, VolumeId(f"{name}-{disk}")) for disk, _ in point.volumes]

    async def make_disks(self, item: Item, point: rt.RecoveryPoint, disks: rt.Volumes) -> None:
        """Copies a point, so that the point stays as it is."""
        site = self.sites_of(item)[1]
        for (_, copy), (_, volume) in zip(disks, point.volumes):
            await site.create_volume(copy, (await site.volume(volume)).size)
            async with site.exported(volume, rt.Access.READ) as old, site.exported(copy, WRITE) as new:
                await rt.execute("nbdcopy", "--flush", "--destination-is-zero", "--", old, new)

    async def build(self, job: Job, item: Item, point: rt.RecoveryPoint, spec: rt.MachineSpec) -> None:
        """Starts a machine from a point."""
        site = self.sites_of(item)[1]
        try:
            async with job.step("build target disks"):
                await self.make_disks(item, point, spec.disks)
            if is_due(item, await site.site()):
                async with job.step(Step.HYDRATE) as step, site.exported(spec.disks[0][1], WRITE) as uri:
                    step.note = await hydrate(uri, (await site.site()).boot_drivers)
            if entry := item.source.boot_entry:
                async with job.step("copy boot loader") as step, site.exported(spec.disks[0][1], WRITE) as uri:
                    step.note = await copy_loader(uri, entry)
            async with job.step("create target machine"):
                await site.create_machine(spec)
            async with job.step("start target machine"):
                await site.start(spec.id)
        except Exception:
            await site.remove_machine(spec.id, spec.disks)
            item.held = None
            raise

    async def test_failover(self, request: rt.TestFailoverRequest) -> JobId:
        item = await self.checked_test_failover(request)
        return await self.jobs.start(JobKind.TEST_FAILOVER, item.view.id, self.start_test, request)

    async def start_test(self, job: Job, request: rt.TestFailoverRequest) -> None:
        item = self.find(request.item)
        point = await self.choose(request.item, request.point)
        machine = MachineId(f"{item.view.recovery[1]}-test")
        await self.remove_test(item)
        item.test, item.held = self.name_disks(item, point), point.id
        self.save()
        await self.build(job, item, point, self.spec(item, machine, item.test, request.network))
        item.view.test_failover = machine
        self.save()

    async def remove_test(self, item: Item) -> None:
        machine = MachineId(f"{item.view.recovery[1]}-test")
        await self.sites_of(item)[1].remove_machine(machine, item.test)
        item.test, item.held, item.view.test_failover = [], None, None
        self.save()

    async def clean_up_test_failover(self, item: ItemId) -> JobId:
        await self.checked(item, Operation.TEST_FAILOVER_CLEANUP)
        return await self.jobs.start(JobKind.TEST_FAILOVER_CLEANUP, item, self.clean_up, item)

    async def clean_up(self, job: Job, id: ItemId) -> None:
        async with job.step("remove test machine"):
            await self.remove_test(self.find(id))
        self.find(id).view.test_failover_status = rt.TestFailoverStatus.PERFORMED
        self.save()

    async def discard(self, item: Item) -> None:
        await self.remove_test(item)
        points = [volume for point in item.view.points for _, volume in point.volumes]
        item.garbage, item.copying = item.garbage + item.copying + points, []
        await self.collect_garbage(item)

    async def failover(self, request: rt.FailoverRequest) -> JobId:
        item = await self.checked_failover(request)
        return await self.jobs.start(JobKind.UNPLANNED_FAILOVER, item.view.id, self.fail_over, request)

    async def fail_over(self, job: Job, request: rt.FailoverRequest) -> None:
        item = self.find(request.item)
        if item.view.protection.phase == Phase.COMMIT_PENDING:
            return  # Done before the core was killed.
        (source, _), (_, machine), is_off = self.sites_of(item), item.view.primary, False
        await self.remove_test(item)
        try:
            if request.shut_down_source:
                async with job.step(Step.SHUT_DOWN_SOURCE, optional=True):
                    if (await source.machine(machine)).power == rt.PowerState.ON:
                        await source.shut_down(machine, request.shutdown_within)
                    is_off = True
            await self.stop_replication(item)
            if is_off:
                async with job.step("transfer last changes", optional=True):
                    await self.last_point(item)
            if request.point == rt.Choice.LATEST:
                async with job.step(Step.PROCESS_RECEIVED) as step:
                    step.note = "a point is complete when it is received"
            await self.switch(job, request.item, await self.choose(request.item, request.point))
        except Exception:
            item.chosen = None
            if is_off:
                await source.start(machine)
            self.start_replication(item)
            raise

    async def switch(self, job: Job, id: ItemId, point: rt.RecoveryPoint) -> None:
        """Builds the target from a point and makes the recovery side active."""
        item, machine = self.find(id), self.find(id).view.recovery[1]
        await self.sites_of(item)[1].remove_machine(machine, item.target)
        item.target = self.name_disks(item, point)
        self.save()
        await self.build(job, item, point, self.spec(item, machine, item.target, item.network))
        item.view.protection = rt.Protection(Phase.COMMIT_PENDING, rt.Side.RECOVERY)
        item.view.failed_over_to, item.chosen = point.id, None
        self.save()

    async def change_point(self, item: ItemId, point: rt.PointChoice) -> JobId:
        await self.checked(item, Operation.CHANGE_POINT)
        chosen = await self.choose(item, point)
        return await self.jobs.start(JobKind.CHANGE_POINT, item, self.switch, item, chosen)

    async def commit(self, item: ItemId) -> JobId:
        await self.checked(item, Operation.COMMIT)
        return await self.jobs.start(JobKind.COMMIT, item, self.make_final, item)

    async def make_final(self, job: Job, id: ItemId) -> None:
        item = self.find(id)
        async with job.step("check target machine"):  # Somebody may have deleted it.
            await self.sites_of(item)[1].machine(item.view.recovery[1])
        async with job.step("delete recovery points"):
            points = [volume for point in item.view.points for _, volume in point.volumes]
            item.garbage, item.copying = item.garbage + item.copying + points, []
            item.view.points, item.view.failed_over_to = [], None
            item.view.protection.phase = Phase.COMMITTED
            self.save()
            await self.collect_garbage(item)


if __name__ == "__main__":
    rt.run(FullCopy())
