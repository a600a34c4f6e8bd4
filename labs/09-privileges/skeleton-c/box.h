/* What the files of the box share. */
#ifndef BOX_H
#define BOX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    MOST = 32,                  /* of one kind of option */
    TREES = 3,                  /* of cgroups, that a box may be in: memory, pids, cpu */
    LONGEST_PATH = 256,
};

/* --volume HOST:DIR[:ro] */
struct volume {
    const char *host;
    const char *directory;
    bool read_only;
};

/* What was asked for. */
struct box {
    const char *rootfs;
    char **command;             /* as execvp wants it: ends with NULL */
    const char *tmpfs[MOST];
    int tmpfs_count;
    struct volume volumes[MOST];
    int volume_count;
    bool init;
    const char *hostname;       /* NULL until uts_choose_name, where none is given */
    long long memory;           /* limits: bytes, processes, processors; 0 where none is given */
    long long pids;
    double cpus;
    char cgroups[TREES][LONGEST_PATH]; /* the directories that were made: one on v2 */
    int cgroup_count;
    uint64_t cap_add, cap_drop; /* a bit for each capability, EVERY_CAPABILITY for ALL */
};

/* Say what failed, on what, in the kernel's words (errno), and end with 125. For any process. */
_Noreturn void fail(const char *what, const char *subject);

/* process.c */
pid_t process_start(void (*body)(struct box *), struct box *box);
_Noreturn void process_execute(char **command);
int process_wait(pid_t pid);

/* pid.c */
void pid_inside(void);

/* private.c */
void private_inside(void);

/* volumes.c */
void volumes_inside(struct box *box);

/* proc.c */
void proc_inside(const struct box *box);

/* root.c */
void root_inside(struct box *box);

/* uts.c */
void uts_choose_name(struct box *box);
void uts_inside(const struct box *box);

/* cgroup.c */
void cgroup_before(struct box *box);
void cgroup_inside(const struct box *box);
void cgroup_after(struct box *box);

/* privileges.c */
#define EVERY_CAPABILITY UINT64_MAX
uint64_t privileges_read(const char *name);
void privileges_inside(const struct box *box);

/* init.c */
void init_inside(const struct box *box);

/* escape.c */
int escape(const char *path);

#endif
