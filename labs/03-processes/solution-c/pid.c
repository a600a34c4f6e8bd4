/* PID 1: a PID namespace for the box. */
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "box.h"

/* Let the kernel kill this process when its parent exits, for any reason. */
static void end_with_parent(void)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        fail("prctl", "PR_SET_PDEATHSIG");
}

/* Continue as PID 1 of a new PID namespace; the caller waits, and exits with its exit code. */
void pid_inside(void)
{
    end_with_parent();
    if (unshare(CLONE_NEWPID) < 0)
        fail("unshare", "CLONE_NEWPID");
    pid_t pid = fork();         /* unshare(CLONE_NEWPID) does not move the caller */
    if (pid < 0)
        fail("fork", "");
    if (pid > 0)
        _exit(process_wait(pid));
    end_with_parent();
}
