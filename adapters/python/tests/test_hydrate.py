"""Hydration of a disk image with a boot partition."""

from __future__ import annotations

import asyncio
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import roundtrip as rt  # noqa: E402
from hydrate import EFI_SYSTEM, copy_loader, hydrate  # noqa: E402

START, COUNT = 2048, 2880
SYSLINUX = "DEFAULT r\nLABEL r\n  KERNEL /vmlinuz\n  INITRD /initrd.img,/drivers/a.img\n"
ENTRY = "title r\nlinux /vmlinuz\ninitrd /initrd.img\ninitrd /drivers/a.img\noptions quiet\n"


class HydrateTest(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.disk = self.folder / "disk.raw"
        record = bytearray(512)
        record[450] = 0xEF
        record[454:462] = struct.pack("<II", START, COUNT)
        record[510:] = b"\x55\xaa"
        self.disk.write_bytes(bytes(record).ljust((START + COUNT + 100) * 512, b"\x07"))
        self.image = f"{self.disk}@@{START * 512}"
        self.mtools("mformat", "-T", str(COUNT), "::")
        self.mtools("mmd", "::/drivers", "::/loader", "::/loader/entries")
        for driver in "ab":
            self.put(f"drivers/{driver}.img", "x" * 3000)
        self.put("syslinux.cfg", SYSLINUX)
        self.put("loader/entries/roundtrip.conf", ENTRY)
        self.put("roundtrip.env", "DHCP=no\nSSH=yes\n")

    def mtools(self, program: str, *arguments: str) -> str:
        command = [program, "-i", self.image, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def put(self, name: str, text: str) -> None:
        file = self.folder / "file"
        file.write_text(text)
        self.mtools("mcopy", "-o", str(file), f"::/{name}")

    def text(self, name: str) -> str:
        return self.mtools("mtype", f"::/{name}")

    def hydrate(self, *drivers: str) -> str:
        return asyncio.run(hydrate(str(self.disk), list(drivers)))

    def test_missing_drivers_are_added_once_and_dhcp_is_enabled(self) -> None:
        outside = self.disk.read_bytes()[: START * 512] + self.disk.read_bytes()[(START + COUNT) * 512 :]
        self.assertIn("changed syslinux.cfg", self.hydrate("a", "b"))
        self.assertEqual(SYSLINUX.replace("a.img", "a.img,/drivers/b.img"), self.text("syslinux.cfg"))
        entry = ENTRY.replace("a.img", "a.img\ninitrd /drivers/b.img")
        self.assertEqual(entry, self.text("loader/entries/roundtrip.conf"))
        self.assertEqual("DHCP=yes\nSSH=yes\n", self.text("roundtrip.env"))
        after = self.disk.read_bytes()
        self.assertEqual(outside, after[: START * 512] + after[(START + COUNT) * 512 :])
        self.assertEqual("nothing was missing", self.hydrate("a", "b"))
        self.assertEqual(after, self.disk.read_bytes())

    def test_the_boot_partition_is_found_by_a_gpt_with_sectors_of_either_size(self) -> None:
        for sector, drivers in ((512, "a"), (4096, "ab")):
            head = bytearray(START * 512)
            head[450], head[510:512] = 0xEE, b"\x55\xaa"
            head[sector : sector + 8] = b"EFI PART"
            struct.pack_into("<QII", head, sector + 72, 2, 128, 128)
            entry = 2 * sector + 128
            head[entry : entry + 16] = EFI_SYSTEM
            first, count = START * 512 // sector, COUNT * 512 // sector
            struct.pack_into("<QQ", head, entry + 32, first, first + count - 1)
            with self.disk.open("r+b") as disk:
                disk.write(head)
            self.assertIn("roundtrip.env" if sector == 512 else "syslinux.cfg", self.hydrate(*drivers))

    def test_a_boot_loader_is_copied_once_to_where_firmware_looks_for_it(self) -> None:
        self.mtools("mmd", "::/EFI", "::/EFI/debian")
        self.put("EFI/debian/grubx64.efi", "a boot loader")
        for done in ("copied", "there was one"):
            self.assertIn(done, asyncio.run(copy_loader(str(self.disk), r"\EFI\debian\grubx64.efi")))
            self.assertEqual("a boot loader", self.text("EFI/BOOT/BOOTX64.EFI"))

    def test_what_cannot_be_hydrated_is_refused(self) -> None:
        with self.assertRaisesRegex(rt.CoreError, "no /drivers/c.img"):
            self.hydrate("c")
        self.disk.write_bytes(bytes(1 << 20))
        with self.assertRaisesRegex(rt.CoreError, "no FAT boot partition"):
            self.hydrate("a")


if __name__ == "__main__":
    unittest.main()
