#!/bin/sh
# Prints the device of the logical volume across the data disks. Makes it at the first boot, when there is no ledger yet.
extra=/run/roundtrip/extra
export LD_LIBRARY_PATH=$extra/lib LVM_SYSTEM_DIR=$extra/etc

read -r boot < /run/roundtrip/boot-device
boot=${boot#/dev/}
disks=
for path in /sys/block/sd*; do
    [ "${path##*/}" = "${boot%1}" ] || disks="$disks /dev/${path##*/}"
done
# shellcheck disable=SC2086 # one word for each disk
set -- $disks
[ $# -eq 2 ] || exit 1

{
    if [ ! -e /var/lib/witness/ledger ] && ! $extra/bin/lvm vgs rtdata; then
        # The write log needs pages that do not change while they are written, here as elsewhere.
        for stable in /sys/block/*/queue/stable_writes; do echo 1 > "$stable"; done
        $extra/bin/lvm vgcreate rtdata "$@"
        $extra/bin/lvm lvcreate -y -W n -n data -i 2 -I 64k -l 100%FREE rtdata
        $extra/bin/mkfs.xfs -q -L rt-data /dev/mapper/rtdata-data
    fi
    $extra/bin/lvm vgchange -ay rtdata
} > /run/roundtrip/data.log 2>&1

for name in /sys/block/dm-*/dm/name; do
    read -r is < "$name"
    [ "$is" != rtdata-data ] || { name=${name%/dm/name} && echo "/dev/${name##*/}"; }
done
