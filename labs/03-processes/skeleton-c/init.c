/* --init: a PID 1 that does its two duties, for commands that were never meant to be PID 1.
 *
 * Yours to write. */
#include <errno.h>

#include "box.h"

/* Stay here as PID 1, if that was asked for, and go on to the command in a child. */
void init_inside(const struct box *box)
{
    if (!box->init)
        return;
    /* TODO: One more fork. The child returns from here, and becomes the command. The parent stays,
     *       - waits for *every* child, also for those that it never started, until the command ends;
     *       - passes each signal that it gets on to the command;
     *       - has nothing open but its standard files, for /proc/1/fd shows them to the whole box;
     *       - ends with the command's exit code, 128 + N where signal N ended it. */
    errno = ENOSYS;
    fail("init_inside", "");
}
