#!/usr/bin/env python3
"""Shows what becomes of an incremental backup that is killed: `killed_backup.py DOMAIN FOLDER`.

The domain must run, write to its disks all the time and have no checkpoints; it is powered off. The
script takes a full and an incremental backup, kills a second incremental backup with SIGKILL once it
has saved its checkpoint, powers the domain off, takes the next incremental backup and restores.
Nothing has written since, so each restored disk must equal the domain's. Exit code 1: one does not.
"""

import json
import subprocess
import sys
import time
import xml.etree.ElementTree as xml
from pathlib import Path

WITHIN = 60


def run(*command: str) -> str:
    print("$", *command, flush=True)
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{command[0]} exited with {result.returncode}: {result.stderr.strip()[-500:]}")
    return result.stdout


def has_saved_checkpoint(folder: Path, number: int) -> bool:
    file = folder / "checkpoints" / f"virtnbdbackup.{number}.xml"
    return file.exists() and file.stat().st_size > 0


def main(domain: str, folder: Path) -> int:
    backup = ("virtnbdbackup", "-n", "-d", domain, "-o", str(folder / "backup"))
    run(*backup, "-l", "full")
    run(*backup, "-l", "inc")
    time.sleep(2)  # The domain writes something that only the next backup has.
    number = len(json.loads((folder / "backup" / f"{domain}.cpt").read_text()))
    deadline = time.monotonic() + WITHIN
    killed = subprocess.Popen([*backup, "-l", "inc"], stderr=subprocess.DEVNULL)
    while not has_saved_checkpoint(folder / "backup", number):
        if killed.poll() is not None or time.monotonic() > deadline:
            sys.exit("the backup ended before it could be killed")
    killed.kill()
    killed.wait()
    print(f"killed the backup with checkpoint {number}")
    run("virsh", "destroy", domain)
    run(*backup, "-l", "inc")
    run("virtnbdrestore", "-n", "-L", str(folder / "restore.log"), "-i", str(folder / "backup"), "-o", str(folder / "restored"))
    config = xml.fromstring(run("virsh", "dumpxml", domain))
    differ = 0
    for source in config.findall("./devices/disk[@device='disk']/source"):
        disk = source.get("file", "")
        restored = str(folder / "restored" / Path(disk).name)
        compared = subprocess.run(["qemu-img", "compare", disk, restored], capture_output=True, text=True)
        print(f"{disk}: {compared.stdout.strip() or compared.stderr.strip()}")
        differ += compared.returncode != 0
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
