"""Copies disks through an NBD server that says that each has half of its size, and believes it."""

import json
import sys
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

sys.path.insert(0, str(Path(__file__).parents[3] / "adapters" / "python"))

import hostile
import roundtrip as rt
from full_copy import FullCopy, Item


def half_of(disk: rt.SnapshotDisk) -> list[str]:
    """The server, as a program that libnbd's tools start."""
    uri = urlsplit(disk.uri)
    server = {"type": "unix", "path": parse_qs(uri.query)["socket"][0]}
    file = {"driver": "nbd", "server": server, "export": unquote(uri.path[1:])}
    image = "json:" + json.dumps({"driver": "raw", "size": disk.size // 2, "file": file})
    return ["--", "[", "qemu-nbd", "--read-only", image, "]"]


class WrongSize(FullCopy):
    name = "wrong-size"

    async def take_point(self, item: Item, consistency: rt.Consistency) -> rt.RecoveryPoint:
        (source, target), (_, machine) = self.sites_of(item), item.view.primary
        name = f"{item.view.id}-point-{item.next_number()}"
        volumes = []
        async with source.snapshot(machine, consistency) as snapshot:
            for disk in snapshot.disks:
                volume = rt.VolumeId(f"{name}-{disk.id}")
                size = int(await rt.execute("nbdinfo", "--size", *half_of(disk)))
                await target.create_volume(volume, size)
                async with target.exported(volume, rt.Access.WRITE) as uri:
                    await rt.execute("nbdcopy", "--destination-is-zero", *half_of(disk), uri)
                volumes.append((disk.id, volume))
        return rt.full_point(rt.PointId(name), snapshot, consistency, volumes)


hostile.leave_child()
rt.run(WrongSize())
