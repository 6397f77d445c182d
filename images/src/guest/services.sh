#!/bin/sh
# Everything that can start after the witness sent its hello:
# services "$DHCP" "$SSH" "$ADDRESS" "$FIREWALL" "$NAMES" "$ADDRESSES".
ip link set lo up

# Names a network card after its PCI slot, and says the name. A virtio card has the slot of the device above it.
rename_card() {
    place=$(readlink -f "/sys/class/net/$1/device")
    case $place in */virtio[0-9]*) place=${place%/*} ;; esac
    slot=${place##*:}
    name=ens$((0x${slot%.*}))
    ip link set "$1" name "$name"
    echo "$name"
}

# Recorded before it is assigned: a client that reaches the guest at this address must find it recorded.
assign() {
    mkdir -p /run/roundtrip/net
    echo "$2" > "/run/roundtrip/net/$1"
    ifconfig "$1" "$2" netmask "$3"
}

leases=
for path in /sys/class/net/*; do
    card=${path##*/}
    [ "$card" != lo ] || continue
    [ "$5" != predictable ] || card=$(rename_card "$card")
    ip link set "$card" up
    if [ "$1" = yes ]; then
        udhcpc -i "$card" -n -q -t 20 -T 1 -s /etc/udhcpc.script > /dev/null 2>&1 &
        leases="$leases $!"
    elif [ -n "$3" ]; then
        assign "$card" "$3" 255.255.255.0
    fi
    for pair in $6; do
        [ "$1" = yes ] || [ "${pair%:*}" != "$card" ] || assign "$card" "${pair#*:}" 255.255.255.128
    done
done

modprobe -a button evdev virtio_rng 2> /dev/null

agent=/dev/virtio-ports/org.qemu.guest_agent.0
[ ! -e $agent ] || qemu-ga -m virtio-serial -p $agent -t /run -F/etc/fsfreeze-hook > /dev/null 2>&1 &

# In place before anything listens.
if [ "$4" = refuses-ssh ]; then
    modprobe -a nf_tables nft_reject_inet
    nft -f /etc/firewall.nft
fi

if [ "$2" = yes ]; then
    read -r boot < /run/roundtrip/boot-device
    mkdir -p -m 0700 /run/ssh
    witness boot-file "$boot" /authorized_keys > /run/ssh/authorized_keys
    chmod 0600 /run/ssh/authorized_keys
    dropbear -R -s
fi

# Of several cards each has its address by then, or gets none.
# shellcheck disable=SC2086 # one word for each process
[ "$5" != predictable ] || [ -z "$leases" ] || wait $leases
echo ROUNDTRIP-STARTED > /dev/console

# Shown on the screen, and so in screenshots.
read -r product < /sys/class/dmi/id/product_name
{
    printf '\n  roundtrip guest on %s, kernel %s\n' "$product" "$(uname -r)"
    printf '  witness on virtio-serial and TCP port 7070\n\n'
} > /dev/tty0
wait
