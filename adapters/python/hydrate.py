"""Makes a copy of a machine bootable at a cloud for which it was not installed (HY-01 to HY-07).

The drivers lie on the machine's own boot partition. Hydration adds them to the configurations of the
boot loaders and enables DHCP, on the target copy only. mtools edits the FAT file system; qemu-img
and qemu-io read and write the disk.
"""

from __future__ import annotations

import json
import os
import re
import struct
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import roundtrip as rt

CLOUD_DRIVERS = {"storvsc", "vmbus", "storflt", "intelide", "atapi"}
FAT_TYPES = (0x0B, 0x0C, 0xEF)
SECTOR = 512
GPT_SECTORS = (512, 4096)
HEAD = 6 * max(GPT_SECTORS)
"""Bytes in which the first copy of a GPT lies, whatever the size of a sector."""
EFI_SYSTEM = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b").bytes_le
USUAL_LOADER = "/EFI/BOOT/BOOTX64.EFI"


def is_due(item: rt.Item, recovery: rt.SiteView) -> bool:
    """Whether the copy of an item's machine needs hydration."""
    source, guest = item.source, item.source.guest
    match item.source_site.kind:
        case rt.PlatformKind.PHYSICAL:
            return True
        case rt.PlatformKind.VMWARE:
            prepared = guest.agent >= (9, 8) and guest.dhcp_service
            prepared = prepared and CLOUD_DRIVERS.issubset(guest.boot_drivers)
            return source.os == rt.GuestOs.LINUX or not prepared
        case rt.PlatformKind.KVM:
            return not set(recovery.boot_drivers) <= set(item.source_site.boot_drivers)
    return False


async def hydrate(uri: str, drivers: list[str]) -> str:
    """Repairs the boot disk at an NBD address. Returns what was done."""
    async with _boot_partition(uri) as folder:
        done = [
            await _edit(folder, "syslinux.cfg", lambda text: _add(text, drivers, r"(?im)^(\s*initrd .*)$", ",")),
            await _edit(
                folder,
                "loader/entries/roundtrip.conf",
                lambda text: _add(text, drivers, r"(?ms)\A(.*^initrd [^\n]*)$", "\ninitrd "),
            ),
            await _edit(folder, "roundtrip.env", lambda text: re.sub(r"(?m)^DHCP=.*$", "DHCP=yes", text)),
        ]
    return "; ".join(one for one in done if one) or "nothing was missing"


async def copy_loader(uri: str, entry: str) -> str:
    """Copies the boot loader that only firmware variables name to where firmware looks for one (FX-62)."""
    async with _boot_partition(uri) as folder:
        if await _has(folder, USUAL_LOADER):
            return "there was one"
        path, loader = entry.replace("\\", "/"), str(folder / "loader")
        await rt.execute("mcopy", "-n", "-m", *_image(folder), f"::{path}", loader)
        for directory in ("/EFI", "/EFI/BOOT"):
            if not await _has(folder, directory):
                await rt.execute("mmd", *_image(folder), f"::{directory}")
        await rt.execute("mcopy", "-m", *_image(folder), loader, f"::{USUAL_LOADER}")
    return f"copied {entry}"


@asynccontextmanager
async def _boot_partition(uri: str) -> AsyncIterator[Path]:
    """A folder with the boot partition of a disk as a file. Changes in it are written to the disk."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start, length = _place(await _read(uri, folder / "head", 0, HEAD))
        old = await _read(uri, folder / "partition", start, length)
        yield folder
        new = (folder / "partition").read_bytes()
        changed = [at for at in range(0, length, SECTOR) if old[at : at + SECTOR] != new[at : at + SECTOR]]
        for at in changed:
            (folder / "sector").write_bytes(new[at : at + SECTOR])
            write = f"write -s {folder / 'sector'} {start + at} {SECTOR}"
            await rt.execute("qemu-io", "-f", "raw", "-c", write, uri)


def _image(folder: Path) -> tuple[str, str]:
    return "-i", str(folder / "partition")


async def _has(folder: Path, path: str) -> bool:
    try:
        await rt.execute("mdir", *_image(folder), f"::{path}")
    except rt.CoreError:
        return False
    return True


async def _read(uri: str, file: Path, start: int, length: int) -> bytes:
    part = {"driver": "raw", "offset": start, "size": length, "file": _node(uri)}
    await rt.execute("qemu-img", "convert", "-O", "raw", f"json:{json.dumps(part)}", str(file))
    return file.read_bytes()


def _node(uri: str) -> dict[str, object]:
    """An NBD address, or the path of a file, as QEMU's options."""
    parts = urlsplit(uri)
    if not parts.scheme:
        return {"driver": "file", "filename": uri}
    server: dict[str, str] = {"type": "unix", "path": parse_qs(parts.query).get("socket", [""])[0]}
    if parts.scheme == "nbd":
        server = {"type": "inet", "host": parts.hostname or "", "port": str(parts.port or 10809)}
    return {"driver": "nbd", "server": server, "export": unquote(parts.path[1:])}


def _place(head: bytes) -> tuple[int, int]:
    """Offset and length of the boot partition, by the boot record or the GPT behind it."""
    for entry in range(446, 510, 16):
        if head[510:SECTOR] == b"\x55\xaa" and head[entry + 4] in FAT_TYPES:
            start, count = struct.unpack_from("<II", head, entry + 8)
            return start * SECTOR, count * SECTOR
    for sector in GPT_SECTORS:
        if not head.startswith(b"EFI PART", sector):
            continue
        table, count, length = struct.unpack_from("<QII", head, sector + 72)
        for number in range(count):
            entry = table * sector + number * length
            if head.startswith(EFI_SYSTEM, entry):
                first, last = struct.unpack_from("<QQ", head, entry + 32)
                return first * sector, (last + 1 - first) * sector
    raise rt.CoreError(rt.ErrorCode.HYDRATION_FAILED, "the disk has no FAT boot partition")


def _add(text: str, drivers: list[str], initrd: str, separator: str) -> str:
    images = (f"/drivers/{driver}.img" for driver in drivers)
    missing = [image for image in images if image not in re.split(r"[,\s]", text)]
    more = "".join(separator + image for image in missing)
    return re.sub(initrd, lambda found: found.group(1).rstrip() + more, text)


async def _edit(folder: Path, name: str, change: Callable[[str], str]) -> str:
    image, path, file = _image(folder), f"::/{name}", folder / "text"
    try:
        await rt.execute("mcopy", "-n", "-m", *image, path, str(file))
    except rt.CoreError:
        if name == "roundtrip.env":
            return ""
        raise
    text, time = file.read_text(), file.stat().st_mtime_ns
    new = change(text)
    if new == text:
        return ""
    for driver in re.findall(r"/drivers/\S+?\.img", new):
        if not await _has(folder, driver):
            raise rt.CoreError(rt.ErrorCode.HYDRATION_FAILED, f"the machine has no {driver}")
    file.write_text(new)
    # The file keeps its time: the same point always becomes the same disks.
    os.utime(file, ns=(time, time))
    await rt.execute("mcopy", "-o", "-m", *image, str(file), path)
    return f"changed {name}"
