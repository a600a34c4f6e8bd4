"""Go templates for --format: `{{.Name}} {{range .Mounts}}{{.Source}} {{end}}`.

Docker's client formats output with Go's text/template; minidock implements the same language. One
step per file:

    template.py   the API: parse a template once, apply it to many values
    parse.py      text -> a tree of nodes, or a syntax error
    evaluate.py   the tree and a value -> text
    functions.py  functions of templates: Go's own (len, index, printf, eq, ...) and Docker's (json,
                  join, split, title, lower, upper, pad, truncate)
    values.py     Go's view of a value: type name, formatting, emptiness
    verbs.py      printf's verbs

A value is a JSON value (dict, list, str, int, float, bool, None), or a Struct, whose fields are
declared: an unknown field is an error. Not supported: nested template definitions ({{define}},
{{template}}, {{block}}), and html, js, call and urlquery.

Sources: https://pkg.go.dev/text/template; https://docs.docker.com/go/formatting/; the behaviour of
docker 26.1, against which the tests compare.
"""
