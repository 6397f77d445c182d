#!/bin/sh
# Called by udhcpc with the lease in the environment.
case $1 in
    bound | renew)
        # Recorded before it is assigned: a client that reaches the guest at this address must find it recorded.
        mkdir -p /run/roundtrip/net
        # shellcheck disable=SC2154 # set by udhcpc
        echo "$ip" > "/run/roundtrip/net/$interface"
        ifconfig "$interface" "$ip" netmask "${subnet:-255.255.255.0}"
        for gateway in $router; do
            ip route replace default via "$gateway" dev "$interface"
            break
        done
        : > /run/resolv.conf
        for server in $dns; do echo "nameserver $server" >> /run/resolv.conf; done
        ;;
esac
