"""The Dockerfile parser: lines, directives, flags, here-documents; and whatever else may come."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minidock.engine.dockerfile import checks
from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.engine.dockerfile.dockerignore import Ignore
from minidock.engine.dockerfile.instruction import Instruction
from minidock.engine.dockerfile.parser import parse, parse_trigger, read
from minidock.engine.dockerfile.word_expansion import (
    expand,
    expand_for_display,
    expand_heredoc,
    expand_words,
    go_quote,
    raw_words,
)


def only(text: str) -> Instruction:
    (instruction,) = parse(text.encode()).instructions
    return instruction


def test_continued_lines_are_joined_and_comments_between_them_left_out() -> None:
    run = only("RUN echo a \\\n  # not this\n\n  b \\  \n\tc\n")
    assert (run.keyword, run.text) == ("RUN", "echo a   b \tc")
    assert (run.first_line, run.last_line) == (1, 5)


def test_comment_at_the_end_of_a_line_is_none() -> None:
    assert only("RUN a # b\n").text == "a # b"


@pytest.mark.parametrize(("end", "text"), [("\\\\", "a\\\\"), ("\\", "ab"), ("\\x", "a\\x")])
def test_escape_at_the_end_continues_unless_it_is_escaped_itself(end: str, text: str) -> None:
    found = read(f"RUN a{end}\nb\n".encode()).instructions
    assert found[0].text == text


def test_escape_directive_changes_the_character_that_continues() -> None:
    dockerfile = parse(
        b"# syntax=docker/dockerfile:1\n# escape=`\n# check=skip=all\nRUN a `\n b\\\n"
    )
    assert dockerfile.instructions[0].text == "a  b\\"
    assert (dockerfile.escape, dockerfile.syntax) == ("`", "docker/dockerfile:1")
    assert dockerfile.check == "skip=all"


@pytest.mark.parametrize("before", ["\n", "# comment\n", "FROM scratch\n", "# unknown=1\n"])
def test_directive_below_anything_else_is_a_comment(before: str) -> None:
    assert parse(f"{before}# escape=`\nCMD a\n".encode()).escape == "\\"


def test_byte_order_mark_and_carriage_returns_are_no_part_of_the_text() -> None:
    dockerfile = parse("\ufeff# escape=`\r\nFROM a\r\nRUN b`\r\n c\r\n".encode())
    assert dockerfile.escape == "`"
    assert [i.text for i in dockerfile.instructions] == ["a", "b c"]


def test_flags_are_split_from_what_follows() -> None:
    copy = only('COPY --from=a --chown="x y" --link --chmod=7\\55 -- --b /c\n')
    assert copy.flags == [("from", "a"), ("chown", "x y"), ("link", "true"), ("chmod", "755")]
    assert copy.words() == ["--b", "/c"]


@pytest.mark.parametrize(
    ("text", "json"),
    [
        ('["a", "b c"]', ["a", "b c"]),
        ("[]", []),
        ('["a"', None),
        ("['a']", None),
        ('["a"] x', None),
        ("a", None),
    ],
)
def test_exec_form_is_a_json_list_of_strings_and_nothing_else(
    text: str, json: list[str] | None
) -> None:
    assert only(f"CMD {text}\n").json == json


def test_heredocs_are_read_in_order_and_lines_below_them_are_instructions() -> None:
    text = 'COPY <<A <<-"B" /d/\none $X\n# two\nA\n\tthree\n\tB\nCMD x\n'
    copy, cmd = parse(text.encode()).instructions
    assert [(h.name, h.text, h.expand) for h in copy.heredocs] == [
        ("A", "one $X\n# two\n", True),
        ("B", "three\n", False),
    ]
    assert (copy.first_line, copy.last_line, cmd.first_line) == (1, 6, 7)


@pytest.mark.parametrize(
    "line",
    [
        "RUN '<<EOF'",
        'RUN "<<EOF"',
        "RUN a<<<EOF",
        'RUN ["<<EOF"]',
        "CMD <<EOF",
        "RUN <<",
        "RUN a <b",
    ],
)
def test_what_only_looks_like_a_heredoc_is_none(line: str) -> None:
    assert only(line + "\n").heredocs == []


@pytest.mark.parametrize(
    "line", ["RUN <<EOF", "RUN 3<<EOF cat", "RUN <<-'EOF'", "ONBUILD RUN <<EOF"]
)
def test_heredoc_forms(line: str) -> None:
    assert only(f"{line}\nx\nEOF\n").heredocs[0].content == "x\n"


def test_trigger_is_one_instruction_with_its_heredocs() -> None:
    assert parse_trigger("RUN <<EOF\necho\nEOF").heredocs[0].content == "echo\n"
    with pytest.raises(DockerfileError, match="2 instructions"):
        parse_trigger("RUN a\nRUN b")


def test_error_names_the_instruction_and_its_lines() -> None:
    with pytest.raises(DockerfileError) as caught:
        parse(b"FROM a\nCOPY \\\n\n  b\nRUN c\n")
    assert (caught.value.line, caught.value.lines) == (2, (2, 4))
    assert str(caught.value).startswith("dockerfile parse error on line 2: COPY requires")


def test_stages_are_what_stands_between_froms() -> None:
    text = "ARG V=1\nFROM a:$V AS One\nRUN x\nFROM --platform=linux/amd64 one\nRUN y\nRUN z\n"
    args, (first, second) = checks.stages(parse(text.encode()))
    assert [a.text for a in args] == ["V=1"]
    assert (first.name, first.base, len(first.instructions)) == ("one", "a:$V", 1)
    assert (second.name, second.platform, len(second.instructions)) == ("", "linux/amd64", 2)


def test_heredoc_content_keeps_its_quotes_and_loses_its_escapes() -> None:
    assert expand_heredoc("'$X' \"$X\" \\$X\n", {"X": "1"}) == "'1' \"1\" $X\n"


def test_shown_text_keeps_quotes_and_what_is_not_set() -> None:
    assert expand_for_display('"$X" $Y ${Y:-z} \'', {"X": "1"}) == '"$X" $Y ${Y:-z} \''
    assert expand_for_display('"$X" $Y ${Y:-z}', {"X": "1"}) == '"1" $Y ${Y:-z}'


# --- anything at all ---------------------------------------------------------------------------

_PIECES = st.sampled_from(
    [
        *"\\`'\"$\n\t #=-<[]{},:/",
        *(
            "FROM ",
            "RUN ",
            "COPY ",
            "ENV ",
            "LABEL ",
            "HEALTHCHECK ",
            "ONBUILD ",
            "ARG ",
            "VOLUME ",
        ),
        *("# escape=`\n", "<<EOF", "<<-", "\nEOF\n", "--from=", "${A", ":-", "##", "//", "x", "é"),
        *('["a"]', "\r\n", "\ufeff", "\x00", "NONE", "CMD ", "--retries="),
    ]
)
_TEXTS = st.lists(_PIECES, max_size=30).map("".join) | st.text(max_size=60)


_LINES = st.sampled_from(
    ("RUN true\n", "ENV A=b \\\n C=d\n", "# words\n", "\n", "FROM b\n", "CMD [")
)
_ALMOST = st.lists(_LINES | _PIECES, max_size=8).map(lambda pieces: "FROM a\n" + "".join(pieces))


@given(st.binary(max_size=80) | (_TEXTS | _ALMOST).map(lambda text: text.encode(errors="replace")))
@example(b"FROM a\n# words\nENV A=b \\\n C=d\nRUN true\n")
def test_any_bytes_are_a_dockerfile_or_a_dockerfile_error(content: bytes) -> None:
    try:
        dockerfile = parse(content)
        checks.stages(dockerfile)
    except DockerfileError as error:
        assert 0 <= error.lines[0] <= error.lines[1] <= content.count(b"\n") + 1
        return
    lines = [i.first_line for i in dockerfile.instructions]
    assert lines == sorted(set(lines))
    for instruction in dockerfile.instructions:
        instruction.source.encode()


@given(_TEXTS)
def test_any_text_is_expanded_or_a_dockerfile_error(text: str) -> None:
    variables = {"A": "a*/b c", "x": ""}
    for escape in "\\`":
        for act in (expand, expand_words, expand_heredoc):
            try:
                act(text, variables, escape=escape)
            except DockerfileError as error:
                assert str(error).startswith("failed to process ")
        assert isinstance(expand_for_display(text, variables, escape=escape), str)


@given(_TEXTS, st.lists(st.sampled_from(["a", "b/c", "é", "x/y/z", "[", "\\"]), min_size=1))
def test_any_dockerignore_answers_or_is_a_dockerfile_error(text: str, paths: list[str]) -> None:
    try:
        ignore = Ignore(text.encode(errors="replace"))
    except DockerfileError:
        return
    for path in paths:
        assert not ignore.skips(path) or ignore.matches(path)
        assert not ignore.skips(path) or ignore.matches(f"{path}/anything")


def test_substitutions_deep_inside_each_other_are_an_error_not_a_crash() -> None:
    with pytest.raises(DockerfileError, match="more than 100"):
        expand("${A:-" * 5000 + "}" * 5000, {})


_WORD = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\n\x00"), min_size=1, max_size=12
)


@given(st.lists(st.tuples(_WORD, _WORD), min_size=1, max_size=4), st.integers(0, 3))
def test_quoted_pairs_come_back_as_they_went_in(pairs: list[tuple[str, str]], breaks: int) -> None:
    from minidock.engine.dockerfile import config

    def shell_quoted(text: str) -> str:
        return '"' + "".join("\\" + c if c in '"$\\' else c for c in text) + '"'

    def name_of(text: str) -> str:
        return text.replace("=", "e")

    joint = " \\\n" * breaks or " "
    line = joint.join(f"{shell_quoted(name_of(n))}={shell_quoted(v)}" for n, v in pairs)
    found = config.pairs(only(f"LABEL {line}\n"), {})
    assert found == [(name_of(n), v) for n, v in pairs]


@given(st.lists(_WORD.filter(lambda w: not set(w) & set("\\'\"$")), max_size=5))
def test_plain_words_are_split_at_their_blanks_only(words: list[str]) -> None:
    text = " ".join(words)
    assert expand_words(text, {}) == raw_words(text)
    assert "".join(expand_words(text, {})) == "".join(
        c for c in text if not (c.isspace() and not "\x1c" <= c <= "\x1f")
    )


@given(st.lists(st.text(max_size=10)))
def test_exec_form_survives_json(strings: list[str]) -> None:
    import json

    encodable = [s.encode(errors="replace").decode().replace("\0", "") for s in strings]
    assert only(f"CMD {json.dumps(encodable)}\n").json == encodable


def test_go_quoting() -> None:
    assert go_quote('a"b\\\t\x01é\u200b') == '"a\\"b\\\\\\t\\x01é\\u200b"'
