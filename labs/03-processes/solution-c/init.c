/* --init: a PID 1 that does its two duties, for commands that were never meant to be PID 1. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "box.h"

/* Collect every child that has ended; true if the command is among them, and then how it ended.
 *
 * Many ends can stand behind one SIGCHLD: signals are not counted. */
static bool reap(pid_t command, int *status)
{
    int one;
    for (pid_t pid; (pid = waitpid(-1, &one, WNOHANG)) > 0;)
        if (pid == command) {
            *status = one;
            return true;
        }
    return false;
}

/* Pass signals on and reap, until the command ends; returns its exit code, or 128 + signal. */
static int serve(pid_t command, const sigset_t *all)
{
    for (;;) {
        int number, status;
        sigwait(all, &number);
        if (number != SIGCHLD)
            kill(command, number);
        else if (reap(command, &status))
            return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }
}

/* Stay here as PID 1, if that was asked for, and go on to the command in a child. */
void init_inside(const struct box *box)
{
    if (!box->init)
        return;
    /* Blocked signals wait until sigwait takes them: none is lost, none runs a handler. */
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    pid_t command = fork();
    if (command < 0)
        fail("fork", "");
    if (command > 0) {
        /* The command's open files close at its execve; these never would, and one that is open on
         * a directory of the host is an escape for every process in the box: /proc/1/fd. */
        closefrom(3);
        _exit(serve(command, &all)); /* and with PID 1, the kernel ends all that is left in the box */
    }
    sigprocmask(SIG_SETMASK, &before, NULL); /* a mask outlives execve */
}
