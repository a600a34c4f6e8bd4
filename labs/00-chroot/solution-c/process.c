/* A process for the command: fork, execve, wait. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "box.h"

/* Fork a child that runs body(box) and never returns; returns the child's pid. */
pid_t process_start(void (*body)(struct box *), struct box *box)
{
    fflush(NULL);               /* otherwise buffered output is written twice */
    pid_t pid = fork();
    if (pid < 0)
        fail("fork", "");
    if (pid == 0) {
        body(box);
        _exit(125);             /* exit() would run the parent's exit handlers */
    }
    return pid;
}

/* Execute the command; if that fails, exit as a shell would: 127 not found, 126 not allowed. */
_Noreturn void process_execute(char **command)
{
    execvp(command[0], command);
    fprintf(stderr, "box: %s: %s\n", command[0], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}

/* Wait for the child; returns its exit code, 128 + N if signal N killed it. */
int process_wait(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            fail("waitpid", "");
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
