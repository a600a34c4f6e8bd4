/* --init: a PID 1 that reaps orphans and forwards signals, for commands that do neither. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "box.h"

/* Reap all ended children; true if the command is among them, with its status.
 *
 * One SIGCHLD may stand for several ended children: signals are not queued. */
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

/* Forward signals and reap, until the command ends; returns its exit code, or 128 + signal. */
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

/* With --init, stay here as PID 1, and let a child become the command. */
void init_inside(const struct box *box)
{
    if (!box->init)
        return;
    /* Blocked signals stay pending until sigwait accepts them: none is lost, no handler runs. */
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    pid_t command = fork();
    if (command < 0)
        fail("fork", "");
    if (command > 0) {
        /* execve closes the command's open files, but this process never calls execve. An open
         * directory of the host would be an escape for the whole box, by /proc/1/fd. */
        closefrom(3);
        _exit(serve(command, &all)); /* the kernel kills the other processes with PID 1 */
    }
    sigprocmask(SIG_SETMASK, &before, NULL); /* execve keeps the mask */
}
