#!/usr/bin/env python3
"""A replication core around the unmodified product backy2.

A recovery point is one backup of each disk, read from a snapshot of the site; a failover restores it
with `backy2 restore` and copies the result into volumes of the recovery site. The product reads and
writes files, so both directions go through a file in the core's state directory. `BACKY2` names the
program, if it is not on the path.
"""

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

import roundtrip as rt  # noqa: E402
from full_copy import FullCopy, Item  # noqa: E402

CONFIGURATION = """[DEFAULTS]
logfile: {folder}/log
block_size: 4194304
lock_dir: {folder}
[MetaBackend]
type: backy2.meta_backends.sql
engine: sqlite:///{folder}/versions.sqlite
[DataBackend]
type: backy2.data_backends.file
path: {folder}/data
simultaneous_writes: 1
simultaneous_reads: 1
[NBD]
cachedir: {folder}
[io_file]
simultaneous_reads: 1
"""


class Backy2(FullCopy):
    name, version = "backy2", "2.9.17"
    time = ("system",)

    async def opened(self) -> None:
        self.folder, self.alone = self.state_dir / "backy2", asyncio.Lock()
        if not self.folder.exists():
            (self.folder / "data").mkdir(parents=True)
            (self.folder / "configuration").write_text(CONFIGURATION.format(folder=self.folder))
        await self.backy2("initdb")
        await super().opened()

    async def backy2(self, *arguments: str) -> list[list[str]]:
        """Runs the product. Returns the table that it prints, without its head."""
        program = (os.environ.get("BACKY2", "backy2"), "-m", "-c", str(self.folder / "configuration"))
        # The product's clean-up must not run beside anything else.
        async with self.alone:
            lines = (await rt.execute(*program, *arguments)).splitlines()
        return [line.split("|") for line in lines if "|" in line][1:]

    async def take_point(self, item: Item, consistency: rt.Consistency) -> rt.RecoveryPoint:
        source, machine = self.sites_of(item)[0], item.view.primary[1]
        name = f"{item.view.id}-point-{item.next_number()}"
        async with source.snapshot(machine, consistency) as snapshot:
            for disk in snapshot.disks:
                file = self.folder / f"{name}-{disk.id}"
                await rt.execute("nbdcopy", "--", disk.uri, str(file))
                await self.backy2("backup", f"file://{file}", f"{name}-{disk.id}")
                file.unlink()
        return rt.full_point(rt.PointId(name), snapshot, consistency, [])

    async def make_disks(self, item: Item, point: rt.RecoveryPoint, disks: rt.Volumes) -> None:
        site = self.sites_of(item)[1]
        for disk, volume in disks:
            file = self.folder / volume
            [version] = [row for row in await self.backy2("ls") if row[2] == f"{point.id}-{disk}"]
            await site.create_volume(volume, int(version[5]))
            await self.backy2("restore", "--force", version[6], f"file://{file}")
            async with site.exported(volume, rt.Access.WRITE) as uri:
                await rt.execute("nbdcopy", "--flush", "--destination-is-zero", "--", str(file), uri)
            file.unlink()

    async def delete_point(self, item: Item, point: rt.RecoveryPoint) -> None:
        await self.remove_versions(f"{point.id}-")

    async def make_final(self, job: rt.Job, id: rt.ItemId) -> None:
        await super().make_final(job, id)
        await self.remove_versions(f"{id}-point-")

    async def discard(self, item: Item) -> None:
        await super().discard(item)
        await self.remove_versions(f"{item.view.id}-point-")

    async def remove_versions(self, prefix: str) -> None:
        with suppress(rt.CoreError):
            for row in await self.backy2("ls"):
                if row[2].startswith(prefix):
                    await self.backy2("rm", "--force", row[6])
            await self.backy2("cleanup", "--full")


if __name__ == "__main__":
    rt.run(Backy2())
