/* A process for the command: fork, execve, wait. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "box.h"

/* Fork a child that runs body(box), and that never returns from here; returns the child's pid. */
pid_t process_start(void (*body)(struct box *), struct box *box)
{
    fflush(NULL);               /* or what is still in the buffers is written twice */
    pid_t pid = fork();
    if (pid < 0)
        fail("fork", "");
    if (pid == 0) {
        body(box);
        _exit(125);             /* exit() would run what the parent has registered for its end */
    }
    return pid;
}

/* Become the command; else end as a shell would: 127 not found, 126 not allowed. */
_Noreturn void process_execute(char **command)
{
    execvp(command[0], command);
    fprintf(stderr, "box: %s: %s\n", command[0], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}

/* Wait for the child's end; returns its exit code, 128 + N where signal N ended it. */
int process_wait(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            fail("waitpid", "");
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
