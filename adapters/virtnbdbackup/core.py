#!/usr/bin/env python3
"""A replication core around the unmodified product virtnbdbackup.

A recovery point is one of its full or incremental backups; a failover restores it with
`virtnbdrestore --until` and copies the result into volumes of the recovery site. Each backup is also
restored as soon as it is made, into the volumes that the point lists, so that every point can be
judged. The product reaches the machine through libvirt, so the primary site must be one of KVM
hosts. What the product refuses is refused here: nothing is repeated in another way to make it
succeed.
"""

import asyncio
import fcntl
import json
import shutil
import sys
import xml.etree.ElementTree as xml
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

import roundtrip as rt  # noqa: E402
from full_copy import FullCopy, Item  # noqa: E402
from roundtrip import CoreError, ErrorCode  # noqa: E402

CLOSED_WITHIN = 60


@dataclass
class Chain:
    """A full backup with its incremental ones, in a folder; the checkpoint of each point."""

    folder: str
    points: dict[rt.PointId, str] = field(default_factory=dict)


class VirtNbdBackup(FullCopy):
    name, version = "virtnbdbackup", "1.9.15"

    async def opened(self) -> None:
        self.chains: dict[rt.ItemId, Chain] = self.store.load("chains", dict[rt.ItemId, Chain], {})
        await super().opened()

    def check_pair(self, primary: rt.SiteView, recovery: rt.SiteView) -> None:
        if primary.kind != rt.PlatformKind.KVM or recovery.kind != rt.PlatformKind.KVM:
            why = f"the product restores KVM machines to KVM hosts, not {primary.kind} to {recovery.kind}"
            raise CoreError(ErrorCode.NOT_SUPPORTED, why)

    async def take_point(self, item: Item, consistency: rt.Consistency) -> rt.RecoveryPoint:
        id, domain = item.view.id, await self.domain(item)
        point = rt.PointId(f"{id}-point-{item.next_number()}")
        level = "inc" if id in self.chains else "full"
        chain = self.chains.get(id) or Chain(str(self.state_dir / "backups" / id))
        folder, scratch = Path(chain.folder), self.state_dir / "scratch"
        if level == "full":
            shutil.rmtree(folder, ignore_errors=True)
        for one in (folder, scratch):
            one.mkdir(parents=True, exist_ok=True)
        moment, size = await self.clock.now(), _size(folder)
        await _to_its_end(
            "virtnbdbackup", "--noprogress", "--uri", domain.uri, "--domain", domain.name,
            "--level", level, "--output", str(folder), "--scratchdir", str(scratch),
        )  # fmt: skip
        checkpoint = json.loads((folder / f"{domain.name}.cpt").read_text())[-1]
        chain.points[point] = checkpoint
        self.chains[id] = chain
        self.store.save("chains", self.chains)
        transferred = _size(folder) - size
        volumes = [(disk.id, rt.VolumeId(f"{point}-{disk.id}")) for disk in item.source.disks]
        item.garbage, item.copying = item.garbage + item.copying, [volume for _, volume in volumes]
        self.save()
        await self.collect_garbage(item)
        await self.restore(item, chain, checkpoint, volumes)
        item.copying = []
        return rt.RecoveryPoint(
            id=point,
            time=moment,
            # The product freezes file systems only where a guest agent answers, and does not say so.
            consistency=rt.Consistency.CRASH,
            processed=True,
            multi_vm=None,
            change_id=rt.ChangeId(checkpoint),
            transferred=transferred,
            volumes=volumes,
        )

    async def domain(self, item: Item) -> rt.LibvirtDomain:
        machine = await self.sites_of(item)[0].machine(item.view.primary[1])
        if machine.libvirt is None:
            raise CoreError(ErrorCode.NOT_SUPPORTED, f"libvirt does not manage {machine.id}")
        return machine.libvirt

    async def make_disks(self, item: Item, point: rt.RecoveryPoint, disks: rt.Volumes) -> None:
        chain = self.chains[item.view.id]
        await self.restore(item, chain, chain.points[point.id], disks)

    async def restore(self, item: Item, chain: Chain, checkpoint: str, disks: rt.Volumes) -> None:
        """Restores a backup into volumes, which it creates."""
        site = self.sites_of(item)[1]
        # The order of the domain's disks is that of the machine's.
        for device, (_, volume) in zip(_devices(Path(chain.folder), checkpoint), disks):
            target = self.state_dir / "restore" / volume
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            await _to_its_end(
                "virtnbdrestore", "--action", "restore", "--noprogress", "--input", chain.folder,
                "--output", str(target), "--until", checkpoint, "--disk", device,
                "--logfile", str(target / "restore.log"),
            )  # fmt: skip
            [image] = [file for file in target.iterdir() if file.suffix not in (".log", ".xml")]
            await _closed(image)
            info = json.loads(await rt.execute("qemu-img", "info", "--output=json", str(image)))
            await site.create_volume(volume, info["virtual-size"])
            async with site.exported(volume, rt.Access.WRITE) as uri:
                flushed = ("-t", "writeback")  # By default nothing is flushed.
                convert = ("qemu-img", "convert", *flushed, "-n", "--target-is-zero", "-f", info["format"])
                await rt.execute(*convert, "-O", "raw", str(image), uri)
            shutil.rmtree(target)

    async def make_final(self, job: rt.Job, id: rt.ItemId) -> None:
        await super().make_final(job, id)
        self.delete_chain(id)

    async def discard(self, item: Item) -> None:
        await super().discard(item)
        self.delete_chain(item.view.id)

    def delete_chain(self, id: rt.ItemId) -> None:
        if chain := self.chains.pop(id, None):
            shutil.rmtree(chain.folder, ignore_errors=True)
            self.store.save("chains", self.chains)


async def _to_its_end(*command: str) -> None:
    """Runs a program and does not kill it: a backup that is killed spoils the ones after it, and a
    restore that is killed leaves its qemu-nbd behind."""
    running = asyncio.ensure_future(rt.execute(*command))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


async def _closed(image: Path) -> None:
    """Waits until QEMU has closed an image: the product does not wait for the qemu-nbd that it ends."""

    def wait() -> None:
        with image.open("r+b") as file:
            # QEMU holds locks on an image that is open.
            fcntl.lockf(file, fcntl.LOCK_EX)

    await asyncio.wait_for(asyncio.to_thread(wait), CLOSED_WITHIN)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _devices(folder: Path, checkpoint: str) -> list[str]:
    """The target names of the domain's disks, in their order, from the configuration in a backup."""
    [config] = list(folder.glob(f"vmconfig.{checkpoint}.xml"))
    disks = xml.parse(config).findall("./devices/disk[@device='disk']/target")
    return [disk.get("dev", "") for disk in disks]


if __name__ == "__main__":
    rt.run(VirtNbdBackup())
