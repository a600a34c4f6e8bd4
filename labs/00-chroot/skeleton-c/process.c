/* A process for the command: fork, execve, wait. Yours to write. */
#include <errno.h>
#include <unistd.h>

#include "box.h"

/* Fork a child that runs body(box) and never returns; returns the child's pid. */
pid_t process_start(void (*body)(struct box *), struct box *box)
{
    /* TODO: fork. In the child: body(box), and then _exit, whatever happens. */
    (void) body;
    errno = ENOSYS;
    fail("process_start", box->rootfs);
}

/* Execute the command; if that fails, exit as a shell would: 127 not found, 126 not allowed. */
_Noreturn void process_execute(char **command)
{
    /* TODO: execvp */
    errno = ENOSYS;
    fail("process_execute", command[0]);
}

/* Wait for the child; returns its exit code, 128 + N if signal N killed it. */
int process_wait(pid_t pid)
{
    /* TODO: waitpid */
    (void) pid;
    errno = ENOSYS;
    fail("process_wait", "");
}
