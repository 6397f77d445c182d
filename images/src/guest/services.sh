#!/bin/sh
# Everything that can start after the witness sent its hello: services "$DHCP" "$SSH" "$ADDRESS" "$FIREWALL".
ip link set lo up
for path in /sys/class/net/*; do
    card=${path##*/}
    [ "$card" != lo ] || continue
    ip link set "$card" up
    # Recorded before it is assigned: a client that reaches the guest at this address must find it recorded.
    [ "$1" = yes ] || [ -z "$3" ] || {
        mkdir -p /run/roundtrip/net
        echo "$3" > "/run/roundtrip/net/$card"
        ifconfig "$card" "$3" netmask 255.255.255.0
    }
    [ "$1" != yes ] || udhcpc -i "$card" -n -q -t 20 -T 1 -s /etc/udhcpc.script > /dev/null 2>&1 &
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

echo ROUNDTRIP-STARTED > /dev/console

# Shown on the screen, and so in screenshots.
read -r product < /sys/class/dmi/id/product_name
{
    printf '\n  roundtrip guest on %s, kernel %s\n' "$product" "$(uname -r)"
    printf '  witness on virtio-serial and TCP port 7070\n\n'
} > /dev/tty0
wait
