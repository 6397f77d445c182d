#!/bin/sh
# First program of the RAM disk: loads what the loader brought, finds the root disk, hands over.
# Whatever fails ends in the no-root line and a kernel panic, which is what the host watches for.

mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o mode=0755 run /run
mkdir /run/roundtrip

read -r command_line < /proc/cmdline

# Loads what a listing names, each module with its `module.option=value` words of the kernel command line.
# No subshell: a fork a module is what an emulated guest's boot would notice.
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

# Controllers probe their disks in the background; 50 ms a turn, 15 s in all.
turns=0
until root=$(findfs LABEL=rt-root 2> /dev/null) && [ -n "$root" ]; do
    turns=$((turns + 1))
    [ $turns -lt 300 ] || no_root "no disk carries the root file system"
    usleep 50000
done

# What the journal was like before mounting replays it.
dd if="$root" of=/run/roundtrip/system.super bs=1024 skip=1 count=1 2> /dev/null
echo "$root" > /run/roundtrip/root-device
# The replication agent lies between a disk and what is mounted of it. It runs from memory: the disks rest while it
# freezes them. A machine whose agent cannot do that runs all the same, and is not replicated.
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
