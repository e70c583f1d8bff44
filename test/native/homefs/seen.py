# Changes at home are seen in the mount, and the other way. Runs in the mount; arguments: the same folder at home, what counts as
# soon.
import os, sys, time

home = sys.argv[1]
SOON_SECONDS = float(sys.argv[2])


def at_home(name):
    return os.path.join(home, name)


def put(path, text):
    with open(path, "w") as file:
        file.write(text)


def get(path):
    with open(path) as file:
        return file.read()


def soon(what, condition):
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > SOON_SECONDS:
            sys.exit(f"not seen in {SOON_SECONDS} s: {what}")
        time.sleep(0.005)


def stat_or_none(path):
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None


def same_size(path):
    return os.lstat(path).st_size == os.lstat(at_home(path)).st_size


# What the task does is at home when the call returns.
os.mkdir("d")
put("d/f", "from the task")
assert get(at_home("d/f")) == "from the task"
os.rename("d/f", "d/g")
assert os.listdir(at_home("d")) == ["g"]

# What was there, and what was not, was looked at before it changes.
assert stat_or_none("d/new") is None
put(at_home("d/new"), "1")
soon("a file that came", lambda: stat_or_none("d/new"))
put("d/gone", "")
os.unlink(at_home("d/gone"))
soon("a file that went", lambda: stat_or_none("d/gone") is None)
os.rename(at_home("d/new"), at_home("d/moved"))
soon("a rename", lambda: stat_or_none("d/new") is None and stat_or_none("d/moved"))
put(at_home("d/moved"), "longer than it was")
soon("a size", lambda: same_size("d/moved"))
os.chmod(at_home("d/moved"), 0o600)
soon("a mode", lambda: os.stat("d/moved").st_mode & 0o777 == 0o600)
os.utime(at_home("d/moved"), ns=(5, 5))
soon("a time", lambda: os.stat("d/moved").st_mtime_ns == 5)
os.mkdir(at_home("d/deep"))
put(at_home("d/deep/file"), "x")
soon("a directory", lambda: stat_or_none("d/deep/file"))
os.rename(at_home("d/deep"), at_home("d/deeper"))
soon("a directory that moved", lambda: stat_or_none("d/deeper/file") and stat_or_none("d/deep") is None)
soon("its names", lambda: sorted(os.listdir("d")) == ["deeper", "g", "moved"])
os.link(at_home("d/moved"), at_home("d/link"))
soon("a link", lambda: os.stat("d/moved").st_nlink == 2)

# Whoever opens a file sees what was there when it was opened (and, soon, what comes later).
for version in range(20):
    put(at_home("d/g"), f"version {version}")
soon("contents", lambda: get("d/g") == "version 19")
reader = open("d/g")
assert reader.read() == "version 19"
with open(at_home("d/g"), "a") as file:
    file.write(" and more")
soon("an open file that grew", lambda: reader.read() == " and more")
put(at_home("d/g"), "VERSION 19")
soon("an open file of another content", lambda: os.pread(reader.fileno(), 100, 0) == b"VERSION 19")

# Another file put in its place.
put(at_home("d/next"), "replaced")
os.rename(at_home("d/next"), at_home("d/g"))
soon("another file in its place", lambda: get("d/g") == "replaced")

# A file that becomes a directory, and back, at one name.
os.unlink(at_home("d/g"))
os.mkdir(at_home("d/g"))
soon("a directory in place of a file", lambda: os.path.isdir("d/g"))
os.rmdir(at_home("d/g"))
os.symlink("moved", at_home("d/g"))
soon("a link in place of a directory", lambda: os.path.islink("d/g") and get("d/g") == get("d/moved"))
os.unlink(at_home("d/g"))
os.symlink("link", at_home("d/g"))
soon("another link", lambda: os.readlink("d/g") == "link")

# Both append to one file.
with open("d/log", "a") as task, open(at_home("d/log"), "a") as other:
    for number in range(50):
        for file, who in (task, "task"), (other, "home"):
            file.write(f"{who} {number}\n")
            file.flush()
assert get(at_home("d/log")).split("\n")[:-1] == [f"{who} {n}" for n in range(50) for who in ("task", "home")]
soon("both logs", lambda: get("d/log") == get(at_home("d/log")))

# What may be done in a directory, whoever changes that.
if os.getuid() != 0:

    def closed():
        try:
            os.stat("d/deeper/file")
        except PermissionError:
            return True
        return False

    assert not closed()
    os.chmod("d/deeper", 0)
    soon("a directory that the task closed", closed)
    os.chmod("d/deeper", 0o755)
    assert not closed()
    os.chmod(at_home("d/deeper"), 0)
    soon("a directory that home closed", closed)
    os.chmod(at_home("d/deeper"), 0o755)
    soon("a directory that home opened", lambda: not closed())

# The directory that the task is in moves.
os.mkdir("cwd")
os.chdir("cwd")
os.rename(at_home("cwd"), at_home("elsewhere"))
put("here", "x")
assert os.listdir(at_home("elsewhere")) == ["here"]
os.chdir("..")
