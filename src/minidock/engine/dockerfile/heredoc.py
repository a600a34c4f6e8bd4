r"""Parse here-documents: "<<NAME" in RUN, COPY or ADD, and the lines down to NAME.

    <<EOF      variables in the content are expanded (COPY, ADD: here; RUN: by its shell)
    <<"EOF"    a quote in the name turns expansion off
    <<-EOF     leading tabs are stripped, also before the closing name

Sources: docs.docker.com/reference/dockerfile "Here-Documents"; BuildKit's parser.
"""

from __future__ import annotations

from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.engine.dockerfile.word_expansion import raw_words

INSTRUCTIONS = ("ADD", "COPY", "RUN")


class Heredoc:
    """One here-document.

    content: its lines as written, each with its line break.
    expand: expand variables. chomp: strip leading tabs.
    """

    def __init__(self, name: str, *, expand: bool, chomp: bool) -> None:
        self.name = name
        self.content = ""
        self.expand = expand
        self.chomp = chomp

    @property
    def text(self) -> str:
        """The content, with leading tabs stripped for "<<-"."""
        if not self.chomp:
            return self.content
        return "\n".join(line.lstrip("\t") for line in self.content.split("\n"))

    def ends_at(self, line: str) -> bool:
        """Whether a line, without its line break, closes it."""
        return (line.lstrip("\t") if self.chomp else line) == self.name

    def __repr__(self) -> str:
        return f"Heredoc({self.name!r}, {self.content!r})"


def heredocs_of(line: str) -> list[Heredoc]:
    """The here-documents that a line opens, with empty contents."""
    try:
        words = raw_words(line)
    except DockerfileError:  # an open quote: left to the shell
        return []
    return [heredoc for word in words if (heredoc := heredoc_of(word))]


def heredoc_of(word: str) -> Heredoc | None:
    """The here-document that a word opens, or None. Raises DockerfileError for an open quote."""
    before, arrows, name = word.partition("<<")
    if not arrows or "<" in name or not all(digit in "0123456789" for digit in before):
        return None
    chomp = name.startswith("-")
    name = name.removeprefix("-")
    words = raw_words(name, keep_quotes=False)
    if len(words) != 1:
        return None
    as_written = raw_words(name)
    quotes = sum(map(words[0].count, "'\"")), sum(map("".join(as_written).count, "'\""))
    return Heredoc(words[0], expand=quotes[0] == quotes[1], chomp=chomp)
