#!/bin/sh
# Prints the device of the data file system "$1". Makes it at the first boot, when there is no ledger yet.
extra=/run/roundtrip/extra
export LD_LIBRARY_PATH=$extra/lib LVM_SYSTEM_DIR=$extra/etc

read -r boot < /run/roundtrip/boot-device
boot=${boot#/dev/}
disks=
for path in /sys/block/sd*; do
    [ "${path##*/}" = "${boot%1}" ] || disks="$disks /dev/${path##*/}"
done

# The write log needs pages that do not change while they are written, here as elsewhere.
stable_writes() {
    for stable in /sys/block/*/queue/stable_writes; do echo 1 > "$stable"; done
}

has_btrfs() {
    dd if="$1" bs=1024 skip=64 count=1 | grep -q _BHRfS_M
}

btrfs() {
    [ -e /var/lib/witness/ledger ] || has_btrfs "$1" || $extra/bin/mkfs.btrfs -q -L rt-data "$1" >&2
    has_btrfs "$1" && echo "$1"
}

xfs_across() {
    if [ ! -e /var/lib/witness/ledger ] && ! $extra/bin/lvm vgs rtdata >&2; then
        $extra/bin/lvm vgcreate rtdata "$@" >&2
        $extra/bin/lvm lvcreate -y -W n -n data -i 2 -I 64k -l 100%FREE rtdata >&2
        $extra/bin/mkfs.xfs -q -L rt-data /dev/mapper/rtdata-data >&2
    fi
    $extra/bin/lvm vgchange -ay rtdata >&2
    for name in /sys/block/dm-*/dm/name; do
        read -r is < "$name"
        [ "$is" != rtdata-data ] || { name=${name%/dm/name} && echo "/dev/${name##*/}"; }
    done
}

# shellcheck disable=SC2086 # one word for each disk
set -- "$1" $disks
exec 2> /run/roundtrip/data.log
stable_writes
case $1/$# in
    btrfs*/2) btrfs "$2" ;;
    xfs*/3) xfs_across "$2" "$3" ;;
    *) exit 1 ;;
esac
