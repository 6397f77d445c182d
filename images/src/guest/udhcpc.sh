#!/bin/sh
# Called by udhcpc with the lease in the environment.
case $1 in
    bound | renew)
        # shellcheck disable=SC2154 # set by udhcpc
        ifconfig "$interface" "$ip" netmask "${subnet:-255.255.255.0}"
        for gateway in $router; do
            ip route replace default via "$gateway" dev "$interface"
            break
        done
        mkdir -p /run/roundtrip/net
        echo "$ip" > "/run/roundtrip/net/$interface"
        : > /run/resolv.conf
        for server in $dns; do echo "nameserver $server" >> /run/resolv.conf; done
        ;;
esac
