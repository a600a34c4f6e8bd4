/* box run ROOTFS COMMAND [ARG...]: a container, made without a container engine.
 *
 * This file is given. What you write stands in process.c, root.c and escape.c.
 *
 *     box                         child
 *      | process_start ---------> | root_inside
 *      | process_wait             | process_execute: from here it is the command
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "box.h"

enum { EXIT_BOX = 125 };        /* Docker's code for "the box, not its command, failed" */

_Noreturn void fail(const char *what, const char *subject)
{
    fprintf(stderr, "box: %s%s%s: %s\n", what, *subject ? " " : "", subject, strerror(errno));
    _exit(EXIT_BOX);
}

static int usage(void)
{
    fputs("usage: box run ROOTFS COMMAND [ARG...] | box escape FILE\n", stderr);
    return EXIT_BOX;
}

/* Run the parts in the child, then execute the command. */
static void child(struct box *box)
{
    root_inside(box);
    process_execute(box->command);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "escape") == 0)
        return escape(argv[2]);
    if (argc < 4 || strcmp(argv[1], "run") != 0)
        return usage();
    struct box box = { .rootfs = argv[2], .command = argv + 3 };
    return process_wait(process_start(child, &box));
}
