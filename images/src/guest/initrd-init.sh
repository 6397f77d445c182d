#!/bin/sh
# First program of the RAM disk: loads the modules that the boot loader passed, finds the root disk, and hands over.
# Every failure ends in the no-root line and a kernel panic, for which the host watches.

mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o mode=0755 run /run
mkdir /run/roundtrip

read -r command_line < /proc/cmdline

# Loads the modules of a list, each with its `module.option=value` words of the kernel command line.
# Without a subshell: one fork per module would slow down the boot of an emulated guest.
load() {
    while read -r module; do
        options=
        for word in $command_line; do
            case $word in "$module".*) options="$options ${word#"$module".}" ;; esac
        done
        # shellcheck disable=SC2086 # one word for each option
        [ -d "/sys/module/$module" ] || insmod "/modules/$module.ko" $options
    done < "$1"
}

load /base.list
drivers=
for list in /drivers/*.list; do
    [ -e "$list" ] || continue
    load "$list"
    name=${list##*/}
    drivers="$drivers ${name%.list}"
done
echo "$drivers" > /run/roundtrip/boot-drivers

no_root() {
    for console in /dev/console /dev/tty0; do
        echo "ROUNDTRIP-NO-ROOT drivers:${drivers:- none}: $1" > "$console"
    done
    exit 1
}

# Tools that only some guests have. They have to outlive this RAM disk.
extra=/run/roundtrip/extra
for list in /extra/*.list; do
    [ -e "$list" ] || continue
    load "$list"
    cp -a /extra /run/roundtrip
    export LD_LIBRARY_PATH=$extra/lib LVM_SYSTEM_DIR=$extra/etc
done

# The host reads the data of a write twice, for the disk and for the log, so no page may change while it is being written.
stable_writes() {
    for stable in /sys/block/*/queue/stable_writes; do
        [ ! -e "$stable" ] || echo 1 > "$stable"
    done 2> /dev/null
}

# Controllers probe their disks in the background; 50 ms per turn, 15 s in all.
turns=0
until root=$(findfs LABEL=rt-root 2> /dev/null) && [ -n "$root" ]; do
    [ ! -x $extra/bin/lvm ] || { stable_writes; $extra/bin/lvm vgchange -ay rt > /run/roundtrip/lvm.log 2>&1; }
    turns=$((turns + 1))
    [ $turns -lt 300 ] || no_root "no disk carries the root file system"
    usleep 50000
done

stable_writes

# A logical volume goes by the kernel's name from here on.
for name in /sys/block/dm-*/dm/name; do
    [ ! -e "$name" ] || read -r volume < "$name"
    [ "$root" != "/dev/mapper/$volume" ] || { name=${name%/dm/name} && root=/dev/${name##*/}; }
done

# Save the superblock before mounting replays the journal.
dd if="$root" of=/run/roundtrip/system.super bs=1024 skip=1 count=1 2> /dev/null
echo "$root" > /run/roundtrip/root-device
# The boot partition is in front of the root's, or of the physical volume that the root lies on.
boot=${root#/dev/}
for below in /sys/class/block/"$boot"/slaves/*; do
    [ ! -e "$below" ] || boot=${below##*/}
done
echo "/dev/${boot%2}1" > /run/roundtrip/boot-device
# The replication agent lies between a disk and the file system on it. It runs from memory, because the disks are
# suspended while it takes a snapshot. A machine whose agent cannot do that still runs, but is not replicated.
mounted=$root
if [ -e /agent.list ]; then
    load /agent.list
    cp /bin/agent /run/roundtrip/agent
    /run/roundtrip/agent stack "${root%2}" 2> /dev/console && mounted=/dev/mapper/${root##*/}
fi
mount -t ext4 -o noatime,noinit_itable,errors=remount-ro "$mounted" /newroot || no_root "$mounted cannot be mounted"
for mounted in dev sys run proc; do
    mount --move "/$mounted" "/newroot/$mounted"
done
exec switch_root /newroot /sbin/init
