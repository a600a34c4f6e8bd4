/* box run [OPTIONS] ROOTFS COMMAND [ARG...]: a container, made without a container engine.
 *
 * This file is given. You write the other ones.
 *
 *     box                         supervisor                its child: PID 1
 *      | cgroup_before            .                         .
 *      | process_start ---------> | cgroup_inside           .
 *      |                          | pid_inside -----------> |
 *      | process_wait             | (waits)                 | private_inside
 *      |                          |                         | volumes_inside
 *      |                          |                         | proc_inside
 *      |                          |                         | root_inside
 *      |                          |                         | uts_inside
 *      |                          |                         | init_inside
 *      |                          |                         | process_execute: the command
 *      | cgroup_after
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
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
    fputs("usage: box run [--cpus X] [--hostname NAME] [--init] [--memory BYTES] [--pids N]\n"
          "               [--tmpfs DIR]... [--volume HOST:DIR[:ro]]... ROOTFS COMMAND [ARG...]\n"
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

/* A number more than 0; false if it is none. */
static bool read_number(const char *text, double *number)
{
    char *end;
    *number = strtod(text, &end);
    return *text && !*end && *number > 0;
}

/* Parse the options; false if they are invalid. */
static bool read_options(int argc, char **argv, struct box *box)
{
    static const struct option options[] = {
        { "cpus", required_argument, NULL, 'c' },
        { "hostname", required_argument, NULL, 'h' },
        { "init", no_argument, NULL, 'i' },
        { "memory", required_argument, NULL, 'm' },
        { "pids", required_argument, NULL, 'p' },
        { "tmpfs", required_argument, NULL, 't' },
        { "volume", required_argument, NULL, 'v' },
        { NULL, 0, NULL, 0 },
    };
    double number;
    /* "+": arguments after ROOTFS belong to the command, options too */
    for (int option; (option = getopt_long(argc, argv, "+", options, NULL)) != -1;) {
        if (option == 'i')
            box->init = true;
        else if (option == 'h')
            box->hostname = optarg;
        else if (option == 'c' && read_number(optarg, &number))
            box->cpus = number;
        else if (option == 'm' && read_number(optarg, &number))
            box->memory = number;
        else if (option == 'p' && read_number(optarg, &number))
            box->pids = number;
        else if (option == 't' && box->tmpfs_count < MOST)
            box->tmpfs[box->tmpfs_count++] = optarg;
        else if (option == 'v' && box->volume_count < MOST
                 && read_volume(optarg, &box->volumes[box->volume_count]))
            box->volume_count++;
        else
            return false;
    }
    uts_choose_name(box);
    box->rootfs = argv[optind];
    box->command = argv + optind + 1;
    return argc - optind >= 2;
}

/* Run the parts in the child, then execute the command. */
static void child(struct box *box)
{
    cgroup_inside(box);
    pid_inside();
    private_inside();
    volumes_inside(box);
    proc_inside(box);
    root_inside(box);
    uts_inside(box);
    init_inside(box);
    process_execute(box->command);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "escape") == 0)
        return escape(argv[2]);
    struct box box = { 0 };
    if (argc < 2 || strcmp(argv[1], "run") != 0 || !read_options(argc - 1, argv + 1, &box))
        return usage();
    cgroup_before(&box);
    int code = process_wait(process_start(child, &box));
    cgroup_after(&box);
    return code;
}
