"""Go templates, as --format takes them: `{{.Name}} {{range .Mounts}}{{.Source}} {{end}}`.

Docker's client writes its tables and answers with Go's text/template, and people have learnt it; so
minidock reads the same language. Here it is, a step a file:

    template.py   a template as a whole: understood once, applied to many values
    parse.py      text -> a tree of nodes, or where it is no template
    evaluate.py   the tree and a value -> text
    functions.py  what templates call: Go's own (len, index, printf, eq, ...) and Docker's (json,
                  join, split, title, lower, upper, pad, truncate)
    values.py     Go's view of a value: its type's name, how it prints, what is empty
    verbs.py      printf's verbs

A value is what JSON holds (dict, list, str, int, float, bool, None), or a Struct: something with
declared fields, where asking for another one is an error. Not here: templates that define others
({{define}}, {{template}}, {{block}}), and html, js, call and urlquery.

Sources: https://pkg.go.dev/text/template; https://docs.docker.com/go/formatting/; the behaviour of
docker 26.1, against which the tests compare.
"""
