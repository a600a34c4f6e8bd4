"""The firewall's rules as text: what is compared, what is asked for, what is taken away."""

from __future__ import annotations

import random

import pytest

from minidock.engine.network import firewall

DEVICE = "minidock0"
BINDING = {
    "HostIp": "0.0.0.0",
    "HostPort": 8090,
    "Proto": "tcp",
    "ContainerPort": 80,
    "Address": "172.18.0.2",
    "Container": "ab" * 32,
}
RULES = firewall.network_rules(DEVICE, "172.18.0.0/16", [BINDING, {**BINDING, "HostIp": "::"}])


def _saved() -> str:
    """What iptables-save prints once all is in place."""
    text = ""
    for table, chains in RULES.items():
        text += f"*{table}\n" + "".join(f":{chain} - [0:0]\n" for chain in chains)
        for built_in, lines in firewall.jumps(DEVICE)[table].items():
            text += "".join(f"-A {built_in} {line}\n" for line in lines)
        for chain, lines in chains.items():
            text += "".join(f"-A {chain} {line}\n" for line in lines)
        text += "COMMIT\n"
    return text


def test_nothing_changes_where_all_is_in_place() -> None:
    assert firewall.changes(_saved(), DEVICE, RULES) == ""


def test_everything_is_made_where_nothing_is() -> None:
    text = firewall.changes("", DEVICE, RULES)
    assert firewall.parse(text)["raw"]["MINIDOCK-minidock0"] == RULES["raw"]["MINIDOCK-minidock0"]
    assert "-D" not in text
    assert text.count("-I ") == 5


def test_only_the_table_that_differs_is_touched() -> None:
    text = firewall.changes(_saved().replace("--dport 8090", "--dport 9"), DEVICE, RULES)
    assert text.startswith("*nat\n") and text.count("COMMIT") == 1
    assert "-I " not in text


def test_jump_behind_foreign_rules_is_moved_to_the_front() -> None:
    saved = _saved().replace("-A FORWARD", "-A FORWARD -j DROP\n-A FORWARD", 1)
    text = firewall.changes(saved, DEVICE, RULES)
    assert "-D FORWARD -j MINIDOCK-minidock0\n-I FORWARD 1 -j MINIDOCK-minidock0\n" in text


def test_jump_behind_another_stores_stays() -> None:
    saved = _saved().replace("-A FORWARD", "-A FORWARD -j MINIDOCK-md1\n-A FORWARD", 1)
    assert firewall.changes(saved, DEVICE, RULES) == ""


def test_ipv6_bindings_are_no_rule() -> None:
    assert len(RULES["nat"]["MINIDOCK-minidock0"]) == 1


def test_chain_of_the_longest_device_name_is_not_too_long() -> None:
    assert len(firewall.chain_of("x" * 15) + "-OUT") == 28


def test_removal_names_what_is_there_and_nothing_else() -> None:
    other = "*filter\n:MINIDOCK-minidock01 - [0:0]\n-A FORWARD -j MINIDOCK-minidock01\nCOMMIT\n"
    assert firewall.removal(other, DEVICE) == ""
    text = firewall.removal(_saved(), DEVICE)
    assert text.count("-X ") == 4
    assert text.count("-D ") == 5


@pytest.mark.parametrize("kept", ["MINIDOCK-minidock0", "MINIDOCK-minidock0-OUT"])
def test_a_chain_goes_with_all_that_leads_to_it_and_one_with_foreign_rules_stays_with_that(
    kept: str,
) -> None:
    text = firewall.removal(f"{_saved()}*nat\n-A {kept} -j LOG\nCOMMIT\n", DEVICE)
    lines = text.partition("*nat\n")[2].partition("COMMIT")[0].splitlines()
    leading = firewall.jumps(DEVICE)["nat"]
    for chain in RULES["nat"]:
        jumps = {f"-D {at} {to}" for at, rules in leading.items() for to in rules
                 if to.endswith(f"-j {chain}")}  # fmt: skip
        assert (f"-X {chain}" in lines) == (chain != kept)
        assert jumps & {*lines} == (set() if chain == kept else jumps)


@pytest.mark.parametrize("word", ["-j", "-g"])
def test_a_chain_to_which_foreign_rules_lead_stays_and_is_empty(word: str) -> None:
    saved = f"{_saved()}*nat\n-A theirs -p tcp {word} MINIDOCK-minidock0-OUT\nCOMMIT\n"
    text = firewall.removal(saved, DEVICE)
    assert "-X MINIDOCK-minidock0-OUT" not in text and "-A " not in text
    assert "theirs" not in text and "-D POSTROUTING -j MINIDOCK-minidock0-OUT" in text
    assert text.count("-D MINIDOCK-minidock0-OUT ") == 3
    left = "*nat\n:MINIDOCK-minidock0-OUT - [0:0]\n-A theirs -j MINIDOCK-minidock0-OUT\nCOMMIT\n"
    assert firewall.removal(left, DEVICE) == "", "nothing is left to take away"


def test_foreign_forwarding_rules_are_noticed() -> None:
    assert not firewall.forwards_for_others(_saved(), DEVICE)
    saved = _saved() + "*filter\n-A FORWARD -j DOCKER-USER\nCOMMIT\n"
    assert firewall.forwards_for_others(saved, DEVICE)


def test_forward_policy_is_read() -> None:
    assert firewall.forward_policy("") == "ACCEPT"
    saved = "*nat\nCOMMIT\n*filter\n:FORWARD DROP [0:0]\nCOMMIT\n"
    assert firewall.forward_policy(saved) == "DROP"


def test_internal_network_allows_no_traffic_out_or_in() -> None:
    rules = firewall.internal_network_rules(DEVICE, "172.19.0.0/16")
    raw = rules["raw"]["MINIDOCK-minidock0"]
    assert f"! -d 172.19.0.0/16 -i {DEVICE} -j DROP" in raw
    assert (
        raw[:3] == firewall.network_rules(DEVICE, "172.19.0.0/16", [])["raw"]["MINIDOCK-minidock0"]
    )
    assert not any(rules["nat"].values())
    assert rules["filter"]["MINIDOCK-minidock0"] == [f"-i {DEVICE} -o {DEVICE} -j ACCEPT"]
    assert rules["mangle"]["MINIDOCK-minidock0"] == [f"-i {DEVICE} ! -o {DEVICE} -j DROP"]


def test_network_that_the_world_routes_is_not_masqueraded() -> None:
    plain = firewall.network_rules(DEVICE, "172.19.0.0/16", [])["nat"]["MINIDOCK-minidock0-OUT"]
    routed = firewall.network_rules(DEVICE, "172.19.0.0/16", [], masquerade=False)["nat"]
    assert routed["MINIDOCK-minidock0-OUT"] == plain[1:]


def _changed(chains: dict[str, list[str]], text: str) -> dict[str, list[str]]:
    """A table's chains after a text for iptables-restore, by the words of its manual."""
    made = {name: list(rules) for name, rules in chains.items()}
    made |= {name: [] for name in ("PREROUTING", "POSTROUTING", "OUTPUT", "FORWARD")}
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        name, _, rule = rest.partition(" ")
        if line.startswith(":"):
            made[word[1:]] = []
        elif word == "-A":
            made[name].append(rule)
        elif word == "-I":
            place, _, rule = rule.partition(" ")
            made[name].insert(int(place) - 1, rule)
        elif word == "-D":
            made[name].remove(rule)
    return made


def test_whatever_a_chain_has_ours_come_into_order_and_others_rules_stay() -> None:
    dice, chain = random.Random(12), f"MINIDOCK-{DEVICE}"
    stale = firewall.network_rules(DEVICE, "10.9.0.0/16", [{**BINDING, "HostPort": 9}])
    foreign = [f"-s 192.0.2.{number}/32 -j DROP" for number in range(4)]
    for table, chains in [*RULES.items()] * 100:
        have = [*foreign, *stale[table][chain], *chains[chain], *chains[chain]]
        have = dice.sample(have, dice.randrange(len(have)))
        saved = f"*{table}\n:{chain} - [0:0]\n" + "".join(f"-A {chain} {r}\n" for r in have)
        text = firewall.changes(f"{saved}COMMIT\n", DEVICE, RULES)
        after = _changed({chain: have}, text.partition(f"*{table}\n")[2].partition("COMMIT")[0])
        assert [r for r in after[chain] if r not in foreign] == chains[chain], have
        assert [r for r in after[chain] if r in foreign] == [r for r in have if r in foreign]


def test_port_of_loopback_is_guarded_and_no_other() -> None:
    for host, guards in (("127.0.0.1", 1), ("127.9.9.9", 1), ("", 0), ("10.0.0.1", 0), ("::1", 0)):
        rules = firewall.network_rules(DEVICE, "172.18.0.0/16", [{**BINDING, "HostIp": host}])
        found = [rule for rule in rules["raw"][f"MINIDOCK-{DEVICE}"] if "! -i lo" in rule]
        assert len(found) == guards


@pytest.mark.parametrize("device", ["minidock0", "x" * 15])
def test_an_administrators_chain_is_no_bridges(device: str) -> None:
    saved = f"*filter\n:MINIDOCK-USER - [0:0]\n:MINIDOCK-{device}-USER - [0:0]\nCOMMIT\n"
    assert firewall.devices_of_chains(saved) == []
