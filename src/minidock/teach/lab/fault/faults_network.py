"""Faults on a packet's path: firewall, bridge, veth pairs, routes, names, the listening server."""

from __future__ import annotations

from minidock.teach.lab.fault.fault import Fault
from minidock.teach.lab.fault.setup_commands import WEB

_AGAIN = "minidock rm -f lab-web"
_PACKET = "minidock packet 8081"
_OUTSIDE = "minidock packet --from outside 8081"
_CLIENT = "minidock exec lab-client"
# The rule that leads port 8081 to the web server, rewritten by a sed script.
_REWRITE = """
rule=$(iptables -t nat -S $CHAIN | grep -e '--dport 8081 ')
iptables -t nat -D ${rule#-A }
iptables -t nat -A $(echo "${rule#-A }" | sed "%s")
"""
_LEAVING = "-s $SUBNET ! -o $BRIDGE -j MASQUERADE"
_LOOPBACK = "-s 127.0.0.0/8 -o $BRIDGE -j MASQUERADE"
_BACK = "-s $SUBNET -o $BRIDGE -m conntrack --ctstate DNAT -j MASQUERADE"
_STRAY = "-o $BRIDGE -p tcp --dport 80 -m conntrack --ctstate DNAT -j DROP"
_ALL_OF_WEB = ("here", "other-host", "by-name", "itself")
_IN_CLIENT = "nsenter -t $CLIENT_PID -n"

FIREWALL = (
    Fault(
        name="forwarding-off",
        part="firewall",
        breaks=("other-host", "world", "itself"),
        inject="echo 0 > /proc/sys/net/ipv4/ip_forward",
        fix="echo 1 > /proc/sys/net/ipv4/ip_forward",
        cause="net.ipv4.ip_forward was 0: this machine forwarded no packet from one network to "
        "another",
        look=(_OUTSIDE, "cat /proc/sys/net/ipv4/ip_forward"),
        undo="echo 1 > /proc/sys/net/ipv4/ip_forward",
        shared="this machine then forwards no packets at all",
    ),
    Fault(
        name="forward-drop",
        part="firewall",
        breaks=("other-host", "world", "itself"),
        inject="""
iptables -P FORWARD DROP
iptables -D FORWARD -j $CHAIN
iptables -D FORWARD -j $TOWN_CHAIN
""",
        fix="""
for chain in $CHAIN $TOWN_CHAIN; do
    iptables -C FORWARD -j $chain 2>/dev/null || iptables -I FORWARD 1 -j $chain
done
iptables -P FORWARD $FORWARD_POLICY
""",
        cause="the policy of chain FORWARD was DROP, and no rule jumped to the chains that "
        "accept the containers' packets",
        look=(_OUTSIDE, "iptables -S FORWARD"),
        also=("by-name", "datagrams"),  # where bridged packets pass the firewall too
        undo="iptables -P FORWARD $FORWARD_POLICY",
        shared="the firewall of this machine drops then what it forwards",
    ),
    Fault(
        name="stray-drop",
        part="stray rule",
        breaks=("other-host", "itself"),
        inject=f"iptables -I FORWARD 1 {_STRAY}",
        fix=f"iptables -D FORWARD {_STRAY}",
        undo=f"iptables -D FORWARD {_STRAY} 2>/dev/null || true",
        cause="a rule before all others dropped packets that are forwarded to port 80 behind the "
        "bridge; this machine's own packets do not pass FORWARD",
        look=(_OUTSIDE, "iptables -S FORWARD"),
    ),
    Fault(
        name="wrong-port-translated",
        part="publishing",
        breaks=("here", "other-host", "itself"),
        inject=_REWRITE % r"s/:80\$/:8080/",
        fix=_REWRITE % r"s/:8080\$/:80/",
        cause="the DNAT rule translated port 8081 to port 8080 of lab-web, where nothing listens",
        look=(_PACKET, "iptables -t nat -S"),
    ),
    Fault(
        name="wrong-address-translated",
        part="publishing",
        breaks=("here", "other-host", "itself"),
        inject=_REWRITE % r"s/[0-9.]*:80\$/$UNUSED:80/",
        fix=_REWRITE % r"s/[0-9.]*:80\$/$WEB_ADDRESS:80/",
        cause="the DNAT rule translated port 8081 to an address that no container has",
        look=(_PACKET, "minidock inspect lab-web", "iptables -t nat -S"),
    ),
    Fault(
        name="no-masquerade",
        part="masquerade",
        breaks=("world",),
        inject=f"iptables -t nat -D $CHAIN-OUT {_LEAVING}",
        fix=f"iptables -t nat -C $CHAIN-OUT {_LEAVING} ||\n"
        f"    iptables -t nat -I $CHAIN-OUT 1 {_LEAVING}",
        cause="packets that left network lab-shop kept their private source address, to which no "
        "answer comes back: the MASQUERADE rule was gone",
        look=("minidock packet --from lab-client 8082", "iptables -t nat -S"),
    ),
    Fault(
        name="no-loopback-masquerade",
        part="loopback",
        breaks=("here",),
        inject=f"iptables -t nat -D $CHAIN-OUT {_LOOPBACK}",
        fix=f"iptables -t nat -C $CHAIN-OUT {_LOOPBACK} ||\n"
        f"    iptables -t nat -I $CHAIN-OUT 2 {_LOOPBACK}",
        cause="packets from 127.0.0.1 reached lab-web with that source address, so it "
        "answered itself",
        look=(_PACKET, "iptables -t nat -S"),
    ),
    Fault(
        name="no-hairpin-masquerade",
        part="hairpin",
        breaks=("itself",),
        inject=f"iptables -t nat -D $CHAIN-OUT {_BACK}",
        fix=f"iptables -t nat -C $CHAIN-OUT {_BACK} ||\n    iptables -t nat -A $CHAIN-OUT {_BACK}",
        cause="packets of lab-web to its own published port came back with its own source address "
        "(the MASQUERADE rule for translated packets that go back to the bridge was gone), and the "
        "kernel drops such a packet as a martian",
        look=("minidock packet --from lab-web 8081", "iptables -t nat -S"),
    ),
    Fault(
        name="loopback-not-routed",
        part="loopback",
        breaks=("here",),
        inject="echo 0 > /proc/sys/net/ipv4/conf/$BRIDGE/route_localnet",
        fix="echo 1 > /proc/sys/net/ipv4/conf/$BRIDGE/route_localnet",
        cause="route_localnet of the bridge was 0: the kernel does not send packets from "
        "127.0.0.0/8 by such a device",
        look=(_PACKET,),
    ),
)

LINKS = (
    Fault(
        name="bridge-down",
        part="bridge",
        breaks=(*_ALL_OF_WEB, "world", "datagrams"),
        inject="ip link set dev $BRIDGE down",
        fix="ip link set dev $BRIDGE up",
        cause="the bridge of network lab-shop was down, and with it every port and route",
        look=(_PACKET, "ip link show type bridge"),
    ),
    Fault(
        name="veth-detached",
        part="veth",
        breaks=(*_ALL_OF_WEB, "datagrams"),
        inject="ip link set dev $WEB_VETH nomaster",
        fix="ip link set dev $WEB_VETH master $BRIDGE\n"
        "ip link set dev $WEB_VETH type bridge_slave hairpin on",
        cause="lab-web's veth device was not attached to the bridge: it had no master",
        look=(_PACKET, "minidock where lab-web", "ip link show type veth"),
    ),
    Fault(
        name="small-mtu",
        part="veth",
        breaks=("datagrams",),
        inject="ip link set dev $WEB_VETH mtu 600",
        fix="ip link set dev $WEB_VETH mtu 1500\nip link set dev $BRIDGE mtu 1500",
        cause="the MTU of this machine's end of lab-web's veth pair was 600: a bridge drops larger "
        "packets without an ICMP error",
        look=(f"{_CLIENT} ping -c 1 -s 1200 lab-web", "minidock where lab-web", "ip link"),
    ),
    Fault(
        name="black-hole",
        part="route",
        breaks=("here", "other-host", "itself"),
        inject="ip route add blackhole $WEB_ADDRESS/32",
        fix="ip route del blackhole $WEB_ADDRESS/32",
        undo="ip route del blackhole $WEB_ADDRESS/32 2>/dev/null || true",
        cause="a blackhole route of this machine dropped packets to lab-web's address",
        look=(_PACKET, "ip route"),
    ),
    Fault(
        name="wrong-default-route",
        part="client's route",
        breaks=("world",),
        inject=f"{_IN_CLIENT} ip route replace default via $UNUSED",
        fix=f"{_IN_CLIENT} ip route replace default via $GATEWAY",
        cause="lab-client's default route led to an address that no device has",
        look=(f"{_CLIENT} ip route", "minidock network inspect lab-shop"),
    ),
    Fault(
        name="interface-down",
        part="client's route",
        breaks=("by-name", "world", "datagrams"),
        inject=f"{_IN_CLIENT} ip link set dev eth0 down",
        fix=f"{_IN_CLIENT} ip link set dev eth0 up\n"
        f"{_IN_CLIENT} ip route replace default via $GATEWAY",
        cause="eth0 of lab-client was down; its routes went with it, and only that of its own "
        "network comes back by itself",
        look=(f"{_CLIENT} ip address", f"{_CLIENT} ip route", "minidock where lab-client"),
    ),
    Fault(
        name="address-taken",
        part="client's address",
        breaks=("by-name",),
        inject=f"""
{_IN_CLIENT} sh -c 'echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore'
{_IN_CLIENT} ip address add $WEB_ADDRESS/32 dev lo
""",
        fix=f"{_IN_CLIENT} ip address del $WEB_ADDRESS/32 dev lo",
        cause="lab-client had lab-web's address too, on its lo: it connected to itself",
        look=(f"{_CLIENT} ip address", f"{_CLIENT} ip route get $WEB_ADDRESS"),
    ),
    Fault(
        name="wrong-neighbour",
        part="client's neighbours",
        breaks=("by-name", "datagrams"),
        inject=f"{_IN_CLIENT} ip neighbour replace $WEB_ADDRESS lladdr 02:00:00:00:00:99 "
        "dev eth0 nud permanent",
        fix=f"{_IN_CLIENT} ip neighbour del $WEB_ADDRESS dev eth0",
        cause="lab-client had a wrong hardware address for lab-web: a PERMANENT entry of its "
        "neighbour table",
        look=("minidock ns lab-client", "nsenter -t $CLIENT_PID -n ip neighbour"),
    ),
    Fault(
        name="loopback-down",
        part="web's loopback",
        breaks=("inside",),
        inject="nsenter -t $WEB_PID -n ip link set dev lo down",
        fix="nsenter -t $WEB_PID -n ip link set dev lo up",
        cause="lo was down in lab-web: as in every new network namespace, until it is set up",
        look=("minidock exec lab-web ip address",),
    ),
)

NAMES = (
    Fault(
        name="resolver-of-the-host",
        part="names",
        breaks=("by-name",),
        inject="echo nameserver 127.0.0.53 > $CLIENT_HOME/resolv.conf",
        fix=r"printf 'nameserver 127.0.0.11\noptions ndots:0\n' > $CLIENT_HOME/resolv.conf",
        cause="lab-client's /etc/resolv.conf named 127.0.0.53, the local resolver of "
        "some machines; in a container, 127.0.0.0/8 is the container",
        look=(f"{_CLIENT} cat /etc/resolv.conf", f"{_CLIENT} nslookup lab-web"),
    ),
    Fault(
        name="old-hosts-entry",
        part="names",
        breaks=("by-name",),
        inject='echo "$UNUSED lab-web" >> $CLIENT_HOME/hosts',
        fix="""
lines=$(grep -v ' lab-web$' $CLIENT_HOME/hosts)
echo "$lines" > $CLIENT_HOME/hosts
""",
        cause="lab-client's /etc/hosts had an old address of lab-web, and is read before a name "
        "server is asked",
        look=(f"{_CLIENT} cat /etc/hosts", f"{_CLIENT} ping -c 1 lab-web"),
    ),
    Fault(
        name="listens-to-itself",
        part="web",
        breaks=_ALL_OF_WEB,
        inject=f"{_AGAIN}\n{WEB.replace('-p 80 ', '-p 127.0.0.1:80 ')}",
        fix=f"{_AGAIN}\n{WEB}",
        cause="httpd listened on 127.0.0.1 only, which is the container's own loopback",
        look=(_PACKET, "minidock exec lab-web netstat -ltn"),
    ),
    Fault(
        name="wrong-port-published",
        part="web",
        breaks=("here", "other-host", "itself"),
        inject=f"{_AGAIN}\n{WEB.replace('8081:80 ', '8081:8080 ')}",
        fix=f"{_AGAIN}\n{WEB}",
        cause="lab-web was started with -p 8081:8080, and its httpd listens on port 80",
        look=(_PACKET, "minidock port lab-web"),
    ),
    Fault(
        name="wrong-network",
        part="web's network",
        breaks=("by-name", "datagrams"),
        inject=f"{_AGAIN}\n{WEB.replace('--network lab-shop', '--network lab-town')}",
        fix="minidock network connect lab-shop lab-web",
        cause="lab-web was on network lab-town, and containers know each other by name on networks "
        "that they share",
        look=("minidock network inspect lab-shop", "minidock ps"),
    ),
)

FAULTS = FIREWALL + LINKS + NAMES
