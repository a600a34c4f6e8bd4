/* box run [OPTIONS] ROOTFS COMMAND [ARG...]: a container, made without a container engine.
 *
 * This file is given. You write the other ones.
 *
 *     box                         child
 *      | process_start ---------> | private_inside
 *      | process_wait             | volumes_inside
 *      |                          | root_inside
 *      |                          | process_execute: from here it is the command
 */
#include <errno.h>
#include <getopt.h>
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
    fputs("usage: box run [--tmpfs DIR]... [--volume HOST:DIR[:ro]]... ROOTFS COMMAND [ARG...]\n"
          "       box escape FILE\n", stderr);
    return EXIT_BOX;
}

/* HOST:DIR or HOST:DIR:ro, split into its parts; false if it is neither. */
static bool read_volume(char *text, struct volume *volume)
{
    volume->host = strsep(&text, ":");
    volume->directory = strsep(&text, ":");
    volume->read_only = text != NULL && strcmp(text, "ro") == 0;
    return *volume->host && volume->directory && *volume->directory == '/'
        && (text == NULL || volume->read_only);
}

/* Parse the options; false if they are invalid. */
static bool read_options(int argc, char **argv, struct box *box)
{
    static const struct option options[] = {
        { "tmpfs", required_argument, NULL, 't' },
        { "volume", required_argument, NULL, 'v' },
        { NULL, 0, NULL, 0 },
    };
    /* "+": arguments after ROOTFS belong to the command, options too */
    for (int option; (option = getopt_long(argc, argv, "+", options, NULL)) != -1;) {
        if (option == 't' && box->tmpfs_count < MOST)
            box->tmpfs[box->tmpfs_count++] = optarg;
        else if (option == 'v' && box->volume_count < MOST
                 && read_volume(optarg, &box->volumes[box->volume_count]))
            box->volume_count++;
        else
            return false;
    }
    box->rootfs = argv[optind];
    box->command = argv + optind + 1;
    return argc - optind >= 2;
}

/* Run the parts in the child, then execute the command. */
static void child(struct box *box)
{
    private_inside();
    volumes_inside(box);
    root_inside(box);
    process_execute(box->command);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "escape") == 0)
        return escape(argv[2]);
    struct box box = { 0 };
    if (argc < 2 || strcmp(argv[1], "run") != 0 || !read_options(argc - 1, argv + 1, &box))
        return usage();
    return process_wait(process_start(child, &box));
}
