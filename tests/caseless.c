/* Makes one folder tell no case apart, as disks of macOS and Windows do: preloaded into a process, CASELESS names it.

   What a program asks for below that folder is looked up name by name, whatever its case. A working directory there has
   the name that PWD tells: under Linux, `getcwd` gives it back as it was entered. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* Replace the name that begins at `name` and ends at `end` by that of the entry of its folder that differs in case. */
static void spell(char *path, char *name, char *end) {
    char kept = *end, before = *name;
    DIR *(*real)(const char *) = dlsym(RTLD_NEXT, "opendir");
    struct dirent *entry;
    DIR *folder;
    *name = 0;
    folder = real(path);
    *name = before;
    if (!folder) return;
    *end = 0;
    while ((entry = readdir(folder)))
        if (!strcasecmp(entry->d_name, name)) {
            memcpy(name, entry->d_name, strlen(name));
            break;
        }
    *end = kept;
    closedir(folder);
}

static const char *on_disk(const char *path, char *room) {
    const char *folder = getenv("CASELESS");
    char *name, *end;
    if (!folder || !path || strncasecmp(path, folder, strlen(folder))) return path;
    snprintf(room, PATH_MAX, "%s", path);
    memcpy(room, folder, strlen(folder));
    for (name = room + strlen(folder); *name == '/'; name = end) {
        while (*name == '/') name++;
        for (end = name; *end && *end != '/'; end++) {}
        if (end > name) spell(room, name, end);
    }
    return room;
}

#define PASS(result, name, types, path, ...) \
    { \
        char room[PATH_MAX]; \
        result (*real) types = dlsym(RTLD_NEXT, name); \
        path = on_disk(path, room); \
        return real(__VA_ARGS__); \
    }
#define MODE_OF(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { va_list list; va_start(list, flags); mode = va_arg(list, mode_t); va_end(list); }

int open(const char *path, int flags, ...) { MODE_OF(flags) PASS(int, "open", (const char *, int, ...), path, path, flags, mode) }
int open64(const char *path, int flags, ...) { MODE_OF(flags) PASS(int, "open64", (const char *, int, ...), path, path, flags, mode) }
FILE *fopen64(const char *path, const char *how) PASS(FILE *, "fopen64", (const char *, const char *), path, path, how)
int access(const char *path, int mode) PASS(int, "access", (const char *, int), path, path, mode)
int stat(const char *path, struct stat *out) PASS(int, "stat", (const char *, struct stat *), path, path, out)
int stat64(const char *path, struct stat64 *out) PASS(int, "stat64", (const char *, struct stat64 *), path, path, out)
int lstat(const char *path, struct stat *out) PASS(int, "lstat", (const char *, struct stat *), path, path, out)
int lstat64(const char *path, struct stat64 *out) PASS(int, "lstat64", (const char *, struct stat64 *), path, path, out)
ssize_t readlink(const char *path, char *out, size_t size)
    PASS(ssize_t, "readlink", (const char *, char *, size_t), path, path, out, size)
DIR *opendir(const char *path) PASS(DIR *, "opendir", (const char *), path, path)
int unlink(const char *path) PASS(int, "unlink", (const char *), path, path)
int link(const char *old, const char *path) PASS(int, "link", (const char *, const char *), path, old, path)

char *getcwd(char *out, size_t size) {
    const char *folder = getenv("CASELESS"), *entered = getenv("PWD");
    char *(*real)(char *, size_t) = dlsym(RTLD_NEXT, "getcwd");
    if (!folder || !entered || !out || strncasecmp(entered, folder, strlen(folder)) || strlen(entered) >= size)
        return real(out, size);
    return strcpy(out, entered);
}
