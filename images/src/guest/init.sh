#!/bin/sh
# Process 1 of the guest: prepares what the witness needs, starts it, then the network and the services.
export PATH=/sbin:/bin:/usr/sbin:/usr/bin HOME=/root
mkdir -p /dev/pts /dev/virtio-ports
mount -t devpts devpts /dev/pts
mount -t tmpfs tmp /tmp
hostname roundtrip

# Either may be built into the kernel, in which case modprobe reports a missing module.
modprobe -a virtio_pci virtio_console 2> /dev/null

# Drivers for the network cards present. A virtio card appears on its bus only after virtio_pci was loaded.
cards=
for device in /sys/bus/pci/devices/*; do
    read -r class < "$device/class"
    case $class in 0x02*) read -r alias < "$device/modalias"; cards="$cards $alias" ;; esac
done
for device in /sys/bus/virtio/devices/*; do
    [ -e "$device/modalias" ] && read -r alias < "$device/modalias" && cards="$cards $alias"
done
# shellcheck disable=SC2086 # one word for each alias
[ -z "$cards" ] || modprobe -ab $cards 2> /dev/null

# The variant file lies on the boot partition, which is read without being mounted and never written.
read -r boot < /run/roundtrip/boot-device
witness boot-file "$boot" /roundtrip.env > /run/roundtrip/env
DHCP=yes ADDRESS='' NAMES='' ADDRESSES='' SSH=yes FIREWALL='' DATA=ext4 SWAP=no
# shellcheck disable=SC1091 # written by the host
[ ! -s /run/roundtrip/env ] || . /run/roundtrip/env

# Present only if the RAM disk contained it; see initrd-init.sh.
agent=/run/roundtrip/agent

find_data() {
    case $DATA in
        ext4) findfs LABEL=rt-data 2> /dev/null ;;
        *) /sbin/data-disks "$DATA" ;;
    esac
}

# The data disk may be on another controller than the boot disk.
turns=0
until data=$(find_data) && [ -n "$data" ]; do
    [ $turns -ne 10 ] || cat /sys/bus/pci/devices/*/modalias /sys/bus/virtio/devices/*/modalias | xargs modprobe -ab 2> /dev/null
    turns=$((turns + 1))
    [ $turns -lt 100 ] || break
    usleep 50000
done
if [ -n "$data" ]; then
    # As for the root disk: no page may change while it is being written.
    for stable in /sys/block/*/queue/stable_writes; do echo 1 > "$stable"; done 2> /dev/null
    echo "$data" > /run/roundtrip/data-device
    case $DATA in
        ext4) superblock=1 kind=ext4 options=noinit_itable,errors=remount-ro ;;
        xfs*) superblock=0 kind=xfs options=inode64 ;;
        btrfs*) superblock=64 kind=btrfs options=discard=sync,commit=2 ;;
    esac
    dd if="$data" of=/run/roundtrip/data.super bs=1024 skip="$superblock" count=1 2> /dev/null
    mounted=$data
    [ ! -x $agent ] || { $agent stack "$data" && mounted=/dev/mapper/${data##*/}; }
    mount -t "$kind" -o "noatime,$options" "$mounted" /data
fi
[ "$DATA" = ext4 ] || /sbin/look-at-disks "$SWAP"
case $DATA in btrfs*) /sbin/trim < /dev/null & ;; esac

link_ports() {
    for port in /sys/class/virtio-ports/*; do
        name=
        [ ! -e "$port/name" ] || read -r name < "$port/name"
        [ -z "$name" ] || [ -e "/dev/virtio-ports/$name" ] || ln -s "../${port##*/}" "/dev/virtio-ports/$name"
    done
}

# Port names appear a moment after the driver was loaded.
turns=0
link_ports
until [ -e /dev/virtio-ports/roundtrip.witness.0 ] || [ $turns -ge 100 ]; do
    turns=$((turns + 1))
    usleep 20000
    link_ports
done

# A restarted agent knows no earlier changes, and reports that.
[ ! -x $agent ] || while :; do
    $agent serve < /dev/null > /dev/console 2>&1
    sleep 1
done &

/sbin/services "$DHCP" "$SSH" "$ADDRESS" "$FIREWALL" "$NAMES" "$ADDRESSES" < /dev/null &

while :; do
    witness < /dev/null > /dev/console 2>&1
    echo "ROUNDTRIP-WITNESS-ENDED status $?" > /dev/console
    sleep 1
done
