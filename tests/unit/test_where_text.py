"""How long paths are shortened: what is shown means the same to a shell as the whole would."""

from __future__ import annotations

import subprocess

from minidock.teach.where.output import Shortener

VARIABLES = {"C": "/var/lib/md/containers/4f", "STORE": "/var/lib/md", "ID": "4f"}


def expanded(used: Shortener, command: str) -> str:
    """What a shell makes of a command, behind the assignments."""
    script = "\n".join([*used.assignments(), f"printf '%s\\n' {command}"])
    done = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=True)
    return done.stdout


def test_a_path_is_shortened_and_a_shell_makes_the_same_of_it() -> None:
    used = Shortener(VARIABLES)
    for whole in ("/var/lib/md/containers/4f/upper", "/var/lib/md/x y".split()[0], "sha256:4f"):
        short = used.command(whole)
        assert "$" in short
        assert expanded(used, short) == f"{whole}\n"


def test_only_what_is_used_is_assigned_and_in_an_order_that_works() -> None:
    used = Shortener(VARIABLES)
    assert used.command("ls /var/lib/md/images.json") == "ls $STORE/images.json"
    assert used.assignments() == ["STORE=/var/lib/md"]
    used.command("ls /var/lib/md/containers/4f")
    assert used.assignments() == ["ID=4f", "STORE=/var/lib/md", "C=$STORE/containers/$ID"]


def test_a_path_that_only_begins_like_another_stays() -> None:
    used = Shortener(VARIABLES)
    for path in ("/var/lib/md-old/x", "/var/lib/md.bak", "/var/lib/md_2", "4f00"):
        assert used.command(path) == path


def test_in_single_quotes_nothing_is_replaced_but_in_a_sentence_it_is() -> None:
    used = Shortener(VARIABLES)
    command = "ls '/var/lib/md/it and that'"
    assert used.command(command) == command
    assert used.shorten("the host's /var/lib/md/x") == "the host's $STORE/x"


def test_a_root_that_a_shell_would_have_to_quote_is_not_shortened() -> None:
    used = Shortener({"STORE": "/my store"})
    assert used.command("ls '/my store/x'") == "ls '/my store/x'"
    assert used.assignments() == []
