"""The labs' grader: a place for a student's program, and exams that look at it from outside.

    folder.py     what a student gets, and has            rubric.py    a lab's rubric, as data
    check.py      holding an exam, item by item           marks.py     what came of it, as text
    exam.py       all that a lab's exam imports           reports.py   what came of it, for a course
    make.py   a program that has to be made           lost.py      how points are lost

    sandbox.py      the machine that an exam is held in     sandbox_clone.py     how it is made
    sandbox_tree.py       its files                               sandbox_cgroup.py   its cgroup
    enter_sandbox.py      how a process gets into it              sandbox_files.py    its files,
    seen from outside
    student_program.py    the student's program, while it runs    sandbox_process.py   what the
    kernel says of one
    snapshot.py   what there is, to see what is left      lan.py       real connections, a neighbour
    adopted_children.py    children that are the grader's unasked

    fault/        a running set-up with one thing wrong   quiz/        questions about a container

Who grades reads first: check.py, exam.py, sandbox.py, sandbox_clone.py.
"""
