"""packet where iptables is of the legacy kind: the hops come from counters."""

from __future__ import annotations

import json
import shlex
import subprocess

import pytest

from minidock.paths import Store
from support.command import command_line, environment
from support.lab import firewall_kinds, machine_of_its_own

pytestmark = pytest.mark.root

# In a mount namespace, where every iptables is the legacy one.
SCRIPT = """
mount --bind /usr/sbin/xtables-legacy-multi /usr/sbin/xtables-nft-multi
trap 'minidock rm -f web >&2' EXIT
minidock run -d --name web -p 8090:80 busybox httpd -f -h / -p 80 >&2
for n in $(seq 100); do nsenter --net=/proc/$(minidock inspect -f '{{.State.Pid}}' web)/ns/net \
    ss -Hltn | grep -q :80 && break; sleep 0.1; done
minidock packet --json 8090
minidock packet --json --from outside 8090
iptables -t nat -D MINIDOCK-$BRIDGE-OUT -s 127.0.0.0/8 -o $BRIDGE -j MASQUERADE
minidock packet --json 8090
iptables -D MINIDOCK-$BRIDGE -o $BRIDGE -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT
minidock packet --json --from outside 8090
minidock packet --from outside 8090
"""


@pytest.mark.parametrize("kind", ["legacy"])
def test_counters_tell_the_rules(kind: str, store: Store, busybox_image: str) -> None:
    assert kind in firewall_kinds()
    functions = f'minidock() {{ {shlex.join(command_line())} "$@"; }}\n'
    env = {**environment(store.root), "BRIDGE": store.bridge}
    with machine_of_its_own():
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", functions + SCRIPT],
            env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip
    lines = done.stdout.splitlines()
    host, outside, no_masquerade, no_forward = (json.loads(line) for line in lines[:4])
    assert [host["status"], outside["status"]] == ["answered", "answered"], done.stderr
    rules = {rule["rule"] for hop in host["hops"] for rule in hop["rules"]}
    assert any(rule.endswith(":80") and "-j DNAT" in rule for rule in rules)
    assert f"-A MINIDOCK-{store.bridge}-OUT -s 127.0.0.0/8 -o {store.bridge} -j MASQUERADE" in rules
    places = [hop["place"] for hop in outside["hops"]]
    assert places.count("filter FORWARD") == 2
    assert places[1] == "nat PREROUTING"
    ends = [
        next(h["place"] for h in told["hops"] if h["end"]) for told in (no_masquerade, no_forward)
    ]
    assert ends == ["program", "filter FORWARD"]
    assert "-P FORWARD DROP" in no_forward["verdict"]
    assert "RELATED,ESTABLISHED" in no_forward["advice"]
    assert "This host uses iptables-legacy" in done.stdout
