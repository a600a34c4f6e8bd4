"""look's packet: its stations beside the firewall's counters and `ip`, and where the dot stops."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from minidock.paths import Store
from support.browser import Browser
from support.command import Minidock
from support.followed import machine_with_web, put_back
from support.lab import sh
from support.look_page import axe_source, violations
from support.look_server import Served
from support.patience import patience

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("browser")]

# A program whose name is markup, and reorders the text after it.
EVIL = "busybox<b>\u202e"
SERVERS = f"cp /bin/busybox '/{EVIL}'; exec '/{EVIL}' httpd -f -h / -p 80"
STATIONS = (
    "return [...document.querySelectorAll('#path .station')].map(e => ({"
    "place: e.querySelector('.said').textContent.split(':')[0], text: e.textContent,"
    "x: Number(e.querySelector('circle').getAttribute('cx')), classes: [...e.classList]}))"
)
DOT = (
    "const dot = document.querySelector('#path .dot');"
    "return [dot.textContent, [...dot.classList], dot.getAttribute('transform')]"
)


@pytest.fixture(scope="module")
def web(_busybox_store: Path) -> Iterator[Minidock]:
    """A machine of its own, with container `web` that publishes a port, and `other` beside it."""
    with machine_with_web(
        _busybox_store, "-p", "8090:80", servers=SERVERS, listening=1
    ) as minidock:
        yield minidock


@pytest.fixture(scope="module")
def served(web: Minidock) -> Iterator[Served]:
    site = Served(Store(web.root))
    yield site
    site.stop()


@pytest.fixture(scope="module")
def browser(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser with the page, beside the server."""
    with Browser(tmp_path_factory.mktemp("browser")) as opened:
        opened.open(served.address)
        opened.await_true("document.querySelector('#now tbody tr')")
        yield opened


@pytest.fixture
def store(web: Minidock) -> Store:
    return Store(web.root)


@pytest.fixture(autouse=True)
def _rules_put_back(web: Minidock) -> Iterator[None]:
    saved = sh("iptables-save")
    yield
    put_back(saved)


def send(browser: Browser, way: str, destination: str, container: str = "") -> None:
    """Fill in the form, and send; returns when the page shows the answer, or an error."""
    browser.script(
        "const [way, to, from] = arguments, form = document.querySelector('.packet-form');"
        "const [ways, containers] = form.querySelectorAll('select');"
        "if (document.getElementById('packet').hidden) throw 'the view is not open';"
        "ways.value = way; containers.value = from || containers.value;"
        "ways.dispatchEvent(new Event('change')); form.querySelector('input').value = to;",
        way, destination, container,
    )  # fmt: skip
    browser.click(".packet-form button")
    browser.await_true("document.querySelector('.message').textContent != 'It is on its way…'", 60)


def opened(browser: Browser) -> None:
    if browser.script("return document.getElementById('packet').hidden"):
        browser.press("k")
    browser.await_true("document.querySelector('.packet-form select ~ select').length >= 2")


def stations(browser: Browser) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = browser.script(STATIONS)
    return found


def text(browser: Browser, selector: str) -> str:
    return str(browser.script("return document.querySelector(arguments[0]).innerText", selector))


def counters() -> dict[str, str]:
    """Rule -> [packets:bytes], as iptables-save -c writes them."""
    lines = re.findall(r"^(\[\d+:\d+\]) (-A .*?) *$", sh("iptables-save -c"), re.M)
    return {rule: counter for counter, rule in lines}


def listed_rules(browser: Browser) -> list[tuple[str, str]]:
    """(rule, what is said of it) in the list of hops."""
    found = browser.script(
        "return [...document.querySelectorAll('.hops li li')].map("
        "e => [e.querySelector('code').textContent, e.querySelector('small').textContent])"
    )
    return [(rule, said) for rule, said in found]


def own_rules(bridge: str) -> set[str]:
    """The rules in this network's own chains that have counted a packet."""
    return {
        rule
        for rule, counter in counters().items()
        if rule.startswith(f"-A MINIDOCK-{bridge}")
        and not counter.startswith("[0:")
        and "-USER " not in rule
    }


@pytest.mark.parametrize("way", ["host", "outside", "container"])
def test_the_stations_have_the_rules_that_counted_and_the_devices_of_ip(
    web: Minidock, store: Store, browser: Browser, way: str
) -> None:
    opened(browser)
    for table in ("raw", "nat", "filter"):
        sh(f"iptables -t {table} -Z")
    before = counters()
    send(browser, way, "8090", "other")
    after = counters()
    browser.press("End")
    shown, rules = stations(browser), listed_rules(browser)
    own = {rule for rule, _ in rules if rule.startswith(f"-A MINIDOCK-{store.bridge}")}
    assert own == own_rules(store.bridge) and len(own) >= 2
    drawn = "".join(each["text"] for each in shown).replace(" ", "")
    for rule, said in rules:
        packets = int(re.findall(r"packets so far: (\d+)", said)[0])
        assert int(before[rule][1:].partition(":")[0]) < packets
        assert packets <= int(after[rule][1:].partition(":")[0])
        assert f"]{rule}".replace(" ", "") in drawn, "as iptables-save -c writes it"
    at = {each["place"]: each for each in shown}
    veth = re.findall(r"veth: (\S+),", at["veth"]["text"])[0]
    (link,) = json.loads(sh(f"ip -j link show {veth}"))
    assert link["master"] == store.bridge == at["bridge"]["text"].split()[1]
    pid = web.ok("inspect", "-f", "{{.State.Pid}}", "web")
    (inside,) = json.loads(sh(f"nsenter --net=/proc/{pid}/ns/net ip -j -4 addr show eth0"))
    assert f"eth0, {inside['addr_info'][0]['local']}:" in at["container"]["text"]
    assert at["routing"]["x"] < at["veth"]["x"] < at["container"]["x"] == at["answer"]["x"]
    assert (shown[0]["x"] < at["routing"]["x"]) == (way != "host"), "a column of its own"
    assert browser.script(DOT)[:2] == ["✓", ["dot", "arrived"]]
    for _ in range(3):
        socket.create_connection(("127.0.0.1", 8090), patience(5)).close()
    drawn_now = (
        "[...document.querySelectorAll('#path .station')].map(e => e.textContent).join('')"
        ".replaceAll(' ', '')"
    )
    (dnat,) = [rule for rule, _ in rules if "-j DNAT" in rule]
    counter = counters()[dnat]
    assert counter.startswith("[4:") if way == "host" else int(counter[1:].partition(":")[0]) > 3
    browser.await_true(f"{drawn_now}.includes('{(counter + dnat).replace(' ', '')}')")


def test_the_dot_stops_at_the_rule_that_drops(browser: Browser) -> None:
    browser.prefer(prefers_reduced_motion="no-preference")
    opened(browser)
    sh("iptables -I FORWARD -p tcp --dport 80 -j DROP")
    send(browser, "outside", "8090")
    browser.await_true("document.querySelector('#path .dot.stopped')")
    rule = "-A FORWARD -p tcp -m tcp --dport 80 -j DROP"
    assert re.search(r"\n +[1-9]\d* +\d+ DROP .* dpt:80", sh("iptables -nvxL FORWARD"))
    last = stations(browser)[-1]
    assert {"end", "here"} <= set(last["classes"]) and last["place"] == "filter FORWARD"
    assert f"{counters()[rule]} {rule}✗ stopped here" in last["text"]
    glyph, _, place = browser.script(DOT)
    assert glyph == "✗" and place.startswith(f"translate({last['x']} ")
    assert "✗ stopped: filter FORWARD drops it" in text(browser, ".verdict")
    assert text(browser, ".hops > li:last-child strong") == "✗ stopped here"
    colour = "getComputedStyle(document.querySelector('#path .dot circle')).fill"
    red, green, blue = map(int, re.findall(r"\d+", browser.script(f"return {colour}"))[:3])
    assert red > 2 * green and red > 2 * blue
    browser.press("Home")
    assert browser.script(DOT)[:2] == ["", ["dot"]]
    browser.press("ArrowRight", " ")
    browser.await_true("document.querySelector('#path .dot.stopped')")
    browser.await_true("document.querySelector('.packet-controls :nth-child(3)').innerText == '▶'")
    browser.prefer()


def test_from_one_container_to_another_and_a_name(
    web: Minidock, browser: Browser, busybox_image: str
) -> None:
    web.ok("network", "create", "shop")
    for name in ("db", "client"):
        web.ok("run", "-d", "--name", name, "--network", "shop", "busybox", "sleep", "600")
    try:
        browser.press("Escape")
        opened(browser)
        send(browser, "between", "web:80", "other")
        browser.press("End")
        assert browser.script(DOT)[0] == "✓"
        assert "web answers at its own address" in text(browser, ".verdict")
        send(browser, "dns", "db", "client")
        browser.press("End")
        address = web.ok("inspect", "-f", "{{.NetworkSettings.Networks.shop.IPAddress}}", "db")
        assert address and f"NOERROR: {address}" in stations(browser)[-1]["text"]
        pid = web.ok("inspect", "-f", "{{.State.Pid}}", "client")
        inside = sh(f"nsenter --net=/proc/{pid}/ns/net iptables-save -c")
        rules = listed_rules(browser)
        assert rules, "the query is redirected in the container's network namespace"
        for rule, said in rules:
            packets = re.findall(rf"^\[(\d+):\d+\] {re.escape(rule)} *$", inside, re.M)
            assert f" {packets[0]}," in said
    finally:
        web.ok("rm", "-f", "db", "client")
        web.ok("network", "rm", "shop")


def test_a_keyboard_is_enough_and_without_motion_the_dot_jumps(
    browser: Browser, web: Minidock
) -> None:
    browser.prefer(prefers_reduced_motion="reduce")
    browser.press("Escape")
    browser.await_true("document.getElementById('packet').hidden")
    opened(browser)
    browser.script("document.querySelector('.packet-form').querySelector('select').value = 'host'")
    browser.press("ArrowDown")
    assert "from another machine" in browser.script(
        "return document.activeElement.selectedOptions[0].textContent"
    )
    browser.press("Tab", *"8090", "Enter")
    sent = "minidock packet --from=outside -- 8090"
    browser.await_true(f"document.querySelector('.message').textContent == '{sent}'", 30)
    assert browser.script(DOT)[:2] == ["✓", ["dot", "arrived"]]
    assert browser.script("return document.getAnimations().length") == 0
    places = {browser.script(DOT)[2]}
    for _ in stations(browser)[1:]:
        browser.press("ArrowLeft")
        places.add(browser.script(DOT)[2])
        assert browser.script("return document.getAnimations().length") == 0
    assert len(places) == len(stations(browser)), "the dot was at each station"
    assert text(browser, "[aria-current=step] button") == "1 socket"
    browser.press("k")
    assert browser.script("return document.activeElement.id") == "packet-button"
    browser.press("Enter")
    browser.await_true("!document.getElementById('packet').hidden")
    browser.prefer()


def test_names_draw_nothing_and_errors_are_shown(browser: Browser) -> None:
    opened(browser)
    send(browser, "host", "8090")
    browser.press("End")
    assert "busybox<b>\ufffd (pid " in text(browser, ".hops")
    for destination, said in (
        ("9", "no container publishes port 9"), ("<img src=x>", "invalid port: <img src=x>"),
        ("--help", "invalid port: --help"), ("192.0.2.1:80", "is not an address of this host"),
        ("", "a destination"),
    ):  # fmt: skip
        send(browser, "host", destination)
        assert said in text(browser, ".message")
    send(browser, "between", "--json", "web")
    assert "No such container: --json" in text(browser, ".message")
    assert browser.script("return document.querySelectorAll('#packet :is(b, img)').length") == 0
    assert not [e for e in browser.complaints() if "Failed to load resource" not in e]


def test_only_the_page_itself_sends_packets(served: Served, browser: Browser) -> None:
    served.address = served.next_address()
    home, cookie = served.admitted()
    ours = {"Cookie": cookie.partition(";")[0], "Origin": f"http://127.0.0.1:{served.port}"}
    packet = urlencode({"way": "host", "destination": "8090"})
    before = counters()

    def post(body: str, path: str = "packet", **headers: str) -> int:
        return served.ask(home + path, "POST", body, **headers)[0]

    for missing in ours:
        assert post(packet, **{key: ours[key] for key in ours if key != missing}) == 403
    for origin in ("null", "http://evil.example", f"https://127.0.0.1:{served.port}", ""):
        assert post(packet, **{**ours, "Origin": origin}) == 403, origin
    assert post(packet, **ours, Host="evil.example") == 421
    assert served.ask(f"{home}packet?{packet}", **ours)[0] == 405
    assert {post(packet, path, **ours) for path in ("", "now", "places", "x")} == {405}
    for wrong in (
        "", "way=shell&destination=8090", "way=host", "way=dns&destination=db",
        "way=container&destination=8090", "way=host&destination=%00",
        "way=host&destination=192.0.2.1:80",
        f"way=host&destination={'8' * 301}", "way=container&container=nosuch&destination=8090",
    ):  # fmt: skip
        assert post(wrong, **ours) == 409, wrong
    assert post("&".join(f"a{n}=1" for n in range(30)), **ours) == 400
    assert post("way=\ufffd".replace("\ufffd", "%ff"), **ours) == 409
    dnat = [rule for rule in before if " --dport 8090 " in rule and "-j DNAT" in rule]
    assert [counters()[rule] for rule in dnat] == [before[rule] for rule in dnat] != []
    assert post(packet, **ours) == 200
    assert [counters()[rule] for rule in dnat] != [before[rule] for rule in dnat]


def test_axe_finds_nothing(browser: Browser) -> None:
    axe = axe_source()
    if axe is None:
        pytest.skip("axe-playwright-python, which brings axe-core, is not installed")
    sh("iptables -I FORWARD -p tcp --dport 80 -j DROP")
    found = {}
    for scheme, way in (("light", "outside"), ("dark", "container")):
        browser.prefer(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
        opened(browser)
        send(browser, way, "8090", "other")
        found[scheme, way] = violations(browser, axe)
    browser.press("l")
    for key in ("Home", "End"):
        browser.press(key)
        top, bottom, height = browser.script(
            "const box = document.querySelector('#path .dot circle').getBoundingClientRect();"
            "return [box.top, box.bottom, innerHeight]"
        )
        assert 0 <= top < bottom <= height, "with large type, too, the dot is seen"
    found["large", way] = violations(browser, axe)
    browser.press("l")
    browser.prefer()
    assert {view: wrong for view, wrong in found.items() if wrong} == {}
