/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "collect_priv.h"

static void from_passwd(struct invoker *who, const struct passwd *pw)
{
	who->uid = pw->pw_uid;
	who->gid = pw->pw_gid;
	who->known = true;
	snprintf(who->name, sizeof(who->name), "%s", pw->pw_name);
	snprintf(who->home, sizeof(who->home), "%s", pw->pw_dir);
	snprintf(who->shell, sizeof(who->shell), "%s", pw->pw_shell);
}

/* An id as sudo leaves it in the environment. -1 = not there or not a number. */
static long env_id(const char *name)
{
	const char *s = getenv(name);
	uint64_t id;

	if (!s || parse_u64(s, 0, 0xfffffffe, &id))
		return -1;
	return (long)id;
}

static int from_uid(struct invoker *who, uid_t uid, gid_t gid)
{
	struct passwd *pw = getpwuid(uid);

	if (pw) {
		from_passwd(who, pw);
		who->gid = gid;
		return 0;
	}
	/* A container's or LDAP's user that this machine does not know by name. */
	who->uid = uid;
	who->gid = gid;
	snprintf(who->name, sizeof(who->name), "%u", (unsigned)uid);
	return 0;
}

int invoker_get(struct invoker *who, struct err *err)
{
	const char *doas = getenv("DOAS_USER");
	long uid, gid;

	memset(who, 0, sizeof(*who));
	if (geteuid())
		return from_uid(who, getuid(), getgid());
	uid = env_id("SUDO_UID");
	gid = env_id("SUDO_GID");
	if (uid >= 0)
		return from_uid(who, (uid_t)uid, gid >= 0 ? (gid_t)gid : (gid_t)uid);
	uid = env_id("PKEXEC_UID");
	if (uid >= 0) {
		struct passwd *pw = getpwuid((uid_t)uid);

		return from_uid(who, (uid_t)uid, pw ? pw->pw_gid : (gid_t)uid);
	}
	if (doas && *doas)
		return invoker_named(doas, who, err);
	return from_uid(who, getuid(), getgid());
}

int invoker_named(const char *name, struct invoker *who, struct err *err)
{
	struct passwd *pw = getpwnam(name);
	uint64_t uid;

	memset(who, 0, sizeof(*who));
	if (!pw && !parse_u64(name, 0, 0xfffffffe, &uid))
		pw = getpwuid((uid_t)uid);
	if (!pw)
		return err_set(err, -EINVAL, MT_EXIT_USAGE, "no such user: %s (see --user)", name);
	from_passwd(who, pw);
	return 0;
}

int invoker_become(const struct invoker *who)
{
	if (getuid() == who->uid && geteuid() == who->uid)
		return 0; /* as without mpvtrace: groups and environment stay as they are */
	if (!geteuid()) {
		if (who->known ? initgroups(who->name, who->gid) : setgroups(1, &who->gid))
			return -errno;
	}
	if (setresgid(who->gid, who->gid, who->gid) || setresuid(who->uid, who->uid, who->uid))
		return -errno;
	if (who->known) {
		setenv("HOME", who->home, 1);
		setenv("USER", who->name, 1);
		setenv("LOGNAME", who->name, 1);
		setenv("SHELL", who->shell, 1);
	}
	return 0;
}

int output_open(const char *path, bool overwrite, struct err *err)
{
	struct invoker who;
	uid_t old_uid = geteuid();
	gid_t old_gid = getegid();
	int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY, fd, saved;
	struct stat st;

	if (invoker_get(&who, err))
		return -EINVAL;
	/* As that user the kernel itself refuses what he may not write; a symbolic link
	 * that someone planted leads no further than his own rights. */
	if (!old_uid && who.uid) {
		setfsgid(who.gid);
		setfsuid(who.uid);
	}
	fd = open(path, flags | (overwrite ? 0 : O_EXCL), 0600);
	saved = errno;
	/* While still that user: what he may write need not be his to change. */
	if (fd >= 0 && overwrite && !fstat(fd, &st) && S_ISREG(st.st_mode)) {
		if (fchmod(fd, 0600) || ftruncate(fd, 0))
			log_debug("%s: %s", path, strerror(errno));
	}
	setfsuid(old_uid);
	setfsgid(old_gid);
	if (fd < 0 && saved == EEXIST)
		return err_set(
		        err, -saved, MT_EXIT_OUTPUT,
		        "%s exists already: choose another name with -o, or -f to replace it",
		        path);
	if (fd < 0)
		return err_set(err, -saved, MT_EXIT_OUTPUT, "cannot write %s: %s", path,
		               strerror(saved));
	return fd;
}

/* --- capabilities -------------------------------------------------------------------------- */

const char *privileges_missing(void)
{
	static const struct {
		cap_value_t cap, instead;
		const char *name;
	} needs[] = {
	        {CAP_BPF, CAP_SYS_ADMIN, "CAP_BPF"},
	        {CAP_PERFMON, CAP_SYS_ADMIN, "CAP_PERFMON"},
	        {CAP_SYS_PTRACE, CAP_SYS_PTRACE, "CAP_SYS_PTRACE"},
	};
	cap_t caps = cap_get_proc();
	const char *missing = NULL;

	if (!caps)
		return "CAP_SYS_ADMIN";
	for (size_t i = 0; i < ARRAY_LEN(needs) && !missing; i++) {
		cap_flag_value_t a = CAP_CLEAR, b = CAP_CLEAR;

		cap_get_flag(caps, needs[i].cap, CAP_EFFECTIVE, &a);
		cap_get_flag(caps, needs[i].instead, CAP_EFFECTIVE, &b);
		if (a != CAP_SET && b != CAP_SET)
			missing = needs[i].name;
	}
	cap_free(caps);
	return missing;
}

#define FIRST_USER_NAMESPACE 0xeffffffdu /* its inode, on each machine */

/* The kernel asks for BPF's capabilities in its first user namespace, whatever a process has in
 * another. */
bool privileges_confined(void)
{
	struct stat st;

	return !stat("/proc/self/ns/user", &st) && st.st_ino != FIRST_USER_NAMESPACE;
}

int collect_allowed(struct err *err)
{
	const char *missing = privileges_missing();

	if (!missing && privileges_confined())
		return err_set(err, -EPERM, MT_EXIT_PRIVILEGE,
		               "recording needs the machine's root, and this one is root in a user "
		               "namespace only (a rootless container?): run it outside");
	if (!missing)
		return 0;
	if (geteuid())
		return err_set(err, -EPERM, MT_EXIT_PRIVILEGE,
		               "recording needs root (%s is missing): run it with sudo", missing);
	return err_set(
	        err, -EPERM, MT_EXIT_PRIVILEGE,
	        "recording needs %s, which this root lacks (a container? add it, or run outside)",
	        missing);
}

/* Becomes the invoking user with exactly these of the capabilities we have. */
static int become_with(const cap_value_t *keep, int n, struct err *err)
{
	struct invoker who;
	cap_t now = cap_get_proc(), caps = cap_init();
	int rc = -EPERM;

	if (!now || !caps || invoker_get(&who, err))
		goto out;
	for (int i = 0; i < n; i++) {
		cap_flag_value_t have = CAP_CLEAR;

		cap_get_flag(now, keep[i], CAP_PERMITTED, &have);
		if (have == CAP_SET && (cap_set_flag(caps, CAP_PERMITTED, 1, &keep[i], CAP_SET) ||
		                        cap_set_flag(caps, CAP_EFFECTIVE, 1, &keep[i], CAP_SET)))
			goto out;
	}
	if (!geteuid() && who.uid) {
		if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0))
			goto out;
		if ((who.known ? initgroups(who.name, who.gid) : setgroups(1, &who.gid)) ||
		    setresgid(who.gid, who.gid, who.gid) || setresuid(who.uid, who.uid, who.uid))
			goto out;
	}
	if (cap_set_proc(caps) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		goto out;
	/* A process that changed its user is no longer "dumpable", so its own /proc files belong
	 * to root. With the last capability there is nothing left to guard. */
	if (!n)
		prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	rc = 0;
out:
	if (rc)
		err_set(err, rc, MT_EXIT_PRIVILEGE, "cannot give up privileges: %s",
		        strerror(errno));
	cap_free(now);
	cap_free(caps);
	return rc;
}

int privileges_reduce(struct err *err)
{
	/* Reading the workload's /proc files (also of another user's; map_files is what
	 * CHECKPOINT_RESTORE is for), and the programs' statistics. */
	static const cap_value_t keep[] = {
	        CAP_SYS_PTRACE,         CAP_DAC_READ_SEARCH, CAP_BPF, CAP_PERFMON, CAP_KILL,
#ifdef CAP_CHECKPOINT_RESTORE
	        CAP_CHECKPOINT_RESTORE,
#endif
	};

	return become_with(keep, ARRAY_LEN(keep), err);
}

int privileges_drop(struct err *err)
{
	return become_with(NULL, 0, err);
}

int privileges_for_statistics(void)
{
	static const cap_value_t keep[] = {CAP_SYS_ADMIN};

	return become_with(keep, ARRAY_LEN(keep), NULL);
}
