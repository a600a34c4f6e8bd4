"""The labs' grader: it runs a student's program in a sandbox and examines it from outside.

    folder.py            the labs, and a student's folder     rubric.py   a lab's rubric, as data
    check.py             run an exam, item by item            marks.py    results as text and JSON
    exam.py              what a lab's exam imports            reports.py  Gradescope, JUnit
    make.py              build a program with `make`          failure.py  a failed probe; timeouts

    sandbox.py           the sandbox: run, find, read, …      sandbox_clone.py    its creation
    sandbox_tree.py      its file tree                        sandbox_cgroup.py   its cgroup
    enter_sandbox.py     start a process in it                sandbox_files.py    read, write files
    student_program.py   a running program, its result        sandbox_process.py  /proc/PID
    snapshot.py          mounts, links, rules, … at a time    lan.py              real connections
    adopted_children.py  children that the grader inherits

    submission_files.py  a program's files, in memory     submission_folder.py  access by openat2
    fault/               a set-up with one fault in it    quiz/  questions about a container

To read first: check.py, exam.py, sandbox.py, sandbox_clone.py.
"""
