#!/bin/sh
# Asks the guest's own tools about its disks, and uses its swap area if "$1" is yes. What they object to is a complaint.
extra=/run/roundtrip/extra
export LD_LIBRARY_PATH=$extra/lib LVM_SYSTEM_DIR=$extra/etc
complaints=/run/roundtrip/complaints

dmesg | grep -E 'GPT:|Alternate GPT|(XFS|BTRFS).*([Ee]rror|[Cc]orrupt|failed)|I/O error' > $complaints
if [ -x $extra/bin/lvm ]; then
    $extra/bin/lvm vgck >> $complaints 2>&1
    for volume in rt-root rt-swap rtdata-data; do
        [ -e "/dev/mapper/$volume" ] || echo "the logical volume $volume is not active"
    done >> $complaints
fi

[ "$1" = yes ] || exit 0
# Pages of a file in memory go to the swap area and come back.
{
    [ -e /var/lib/witness/ledger ] || mkswap -L rt-swap /dev/mapper/rt-swap > /dev/null
    swapon /dev/mapper/rt-swap
    mount -t cgroup2 cgroup /sys/fs/cgroup
    dd if=/dev/urandom of=/tmp/pages bs=1M count=12 2> /dev/null
    before=$(md5sum < /tmp/pages)
    echo '24M swappiness=200' > /sys/fs/cgroup/memory.reclaim
    { read -r _ && read -r _ _ _ used _; } < /proc/swaps
    [ "${used:-0}" -gt 0 ] || echo 'no page went to the swap area'
    [ "$before" = "$(md5sum < /tmp/pages)" ] || echo 'pages came back from the swap area with another content'
} >> $complaints 2>&1
