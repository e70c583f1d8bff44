# What programs do with open files.
import errno, fcntl, mmap, os, socket, stat, subprocess, sys, threading

def report(what, function, *arguments, **words):
    try:
        result = function(*arguments, **words)
    except OSError as error:
        result = errno.errorcode[error.errno]
    print(what, result)

def write(path, data, flags=os.O_CREAT | os.O_WRONLY | os.O_TRUNC):
    fd = os.open(path, flags, 0o644)
    os.write(fd, data)
    os.close(fd)

def read(path):
    with open(path, "rb") as file:
        return file.read()

# Deleted and replaced while open.
write("old", b"old contents")
fd = os.open("old", os.O_RDWR)
os.unlink("old")
report("deleted", os.stat, "old")
print(os.fstat(fd).st_nlink, os.pread(fd, 100, 0), os.pwrite(fd, b"NEW", 0), os.pread(fd, 100, 0))
os.ftruncate(fd, 5), os.fchmod(fd, 0o600)
print(os.fstat(fd).st_size, oct(os.fstat(fd).st_mode))
os.utime(fd, ns=(1, 2))
print(os.fstat(fd).st_mtime_ns)
os.close(fd)
write("one", b"one"), write("two", b"two")
fd = os.open("one", os.O_RDONLY)
os.rename("two", "one")
print(os.read(fd, 10), read("one"))
os.close(fd)

# Flags of open.
report("excl", os.open, "one", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
report("nofollow", lambda: (os.symlink("one", "link"), os.open("link", os.O_NOFOLLOW))[1])
report("directory", os.open, "one", os.O_DIRECTORY)
report("write directory", os.open, ".", os.O_WRONLY)
fd = os.open("readonly", os.O_CREAT | os.O_WRONLY, 0o444)
print(os.write(fd, b"made read-only"), read("readonly"))
report("read write-only", os.read, fd, 1)
os.close(fd)
report("through dangling", lambda: (os.symlink("target", "dangling"), write("dangling", b"x"), read("target"))[2])

# Appending by two at once.
write("log", b"")
code = "import os; fd = os.open('log', os.O_WRONLY | os.O_APPEND); [os.write(fd, b'%s' * 9 + b'\\n') for _ in range(300)]"
both = [subprocess.Popen([sys.executable, "-c", code % letter]) for letter in "ab"]
print([one.wait() for one in both])
lines = read("log").split(b"\n")[:-1]
print(len(lines), set(lines) == {b"a" * 9, b"b" * 9})

# Holes, allocation, size.
fd = os.open("holes", os.O_CREAT | os.O_RDWR, 0o644)
os.pwrite(fd, b"x" * 4096, 1 << 20), os.pwrite(fd, b"y", 4 << 20)
report("data", lambda: [os.lseek(fd, at, how) for at, how in
                        [(0, os.SEEK_DATA), (1 << 20, os.SEEK_HOLE), (2 << 20, os.SEEK_DATA), (0, os.SEEK_HOLE)]])
report("no data", os.lseek, fd, 5 << 20, os.SEEK_DATA)
report("fallocate", lambda: (os.posix_fallocate(fd, 8 << 20, 4096), os.fstat(fd).st_size)[1])
report("beyond", os.ftruncate, fd, 1 << 62)
os.ftruncate(fd, 100)
print(os.fstat(fd).st_size, os.pread(fd, 10, 95), os.fstat(fd).st_blocks)
write("from", bytes(range(256)) * 1000)
report("copy_file_range", lambda: (source := os.open("from", os.O_RDONLY), os.copy_file_range(source, fd, 200000, 0, 50))[1])
print(read("holes")[:50] == bytes(50), read("holes")[50:60] == bytes(10), os.fstat(fd).st_size)
os.close(fd)

# Mappings.
fd = os.open("map", os.O_CREAT | os.O_RDWR, 0o644)
os.write(fd, bytes(20000))
with mmap.mmap(fd, 20000) as shared:
    shared[5000:5005] = b"hello"
    shared.flush()
    print(read("map")[4999:5006])
    os.pwrite(fd, b"world", 6000)
    print(shared[5999:6006])
    # The kernel may write a page through any descriptor: not at the end, even through one that appends.
    end = os.open("map", os.O_RDWR | os.O_APPEND)
    shared[100:103] = b"abc"
    os.close(fd)
    with mmap.mmap(end, 20000) as other:
        other[200:203] = b"def"
        other.flush()
    shared.flush()
    os.write(end, b"tail")
    os.close(end)
print(len(read("map")), read("map")[100:103], read("map")[200:203], read("map")[-4:])
with open("from", "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
    print(sum(mapped[:]) == 255 * 128 * 1000)

# Big requests at odd places.
big = os.urandom(3_000_001)
write("random", big)
fd = os.open("random", os.O_RDWR)
print(os.pread(fd, 5_000_000, 0) == big, os.pread(fd, 1_500_000, 777_777) == big[777_777:2_277_777], os.pread(fd, 9, 3_000_001))
os.pwrite(fd, b"!" * 1_300_000, 1_234_567)
print(read("random") == big[:1_234_567] + b"!" * 1_300_000 + big[2_534_567:])
os.fsync(fd), os.fdatasync(fd), os.close(fd)

# Extended attributes.
if os.environ.get("XATTRS") == "1":
    os.setxattr("one", "user.test", b"value\0with zero")
    report("xattr", os.getxattr, "one", "user.test")
    report("list", lambda: sorted(os.listxattr("one")))
    report("create", os.setxattr, "one", "user.test", b"x", os.XATTR_CREATE)
    report("big", lambda: (os.setxattr("one", "user.big", b"x" * 3000), len(os.getxattr("one", "user.big")))[1])
    os.removexattr("one", "user.test")
    report("removed", os.getxattr, "one", "user.test")
    report("bad name", os.getxattr, "one", "nonsense")
    report("of a link", os.setxattr, "link", "user.x", b"x", follow_symlinks=False)

# Links, renames, directories.
os.link("one", "hard")
print(os.stat("one").st_nlink, os.path.samefile("one", "hard"))
os.unlink("one")
print(os.stat("hard").st_nlink, read("hard"))
report("link directory", os.link, ".", "directory")
os.makedirs("x/y/z")
report("into itself", os.rename, "x", "x/y/x")
report("full", os.rmdir, "x")
os.rename("x/y", "y")
print(sorted(os.listdir("x")), sorted(os.listdir("y")))
fd = os.open("y", os.O_RDONLY | os.O_DIRECTORY)
os.rename("y", "renamed")
os.mkdir("inside", dir_fd=fd)
print(sorted(os.listdir(fd)), sorted(os.listdir("renamed")))
os.fsync(fd), os.close(fd)
libc = __import__("ctypes").CDLL(None, use_errno=True)
def renameat2(source, target, flags):
    if libc.renameat2(-100, source, -100, target, flags):
        code = __import__("ctypes").get_errno()
        raise OSError(code, os.strerror(code))
write("p", b"p"), write("q", b"q")
report("noreplace", renameat2, b"p", b"q", 1)
renameat2(b"p", b"q", 2)
print(read("p"), read("q"))

# Locks.
fd = os.open("p", os.O_RDWR)
fcntl.flock(fd, fcntl.LOCK_EX)
code = "import fcntl, os; fd = os.open('p', os.O_RDWR); fcntl.%s(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)"
print(subprocess.run([sys.executable, "-c", code % "flock"], stderr=subprocess.DEVNULL).returncode)
fcntl.flock(fd, fcntl.LOCK_UN), fcntl.lockf(fd, fcntl.LOCK_EX)
print(subprocess.run([sys.executable, "-c", code % "lockf"], stderr=subprocess.DEVNULL).returncode)
os.close(fd)
print(subprocess.run([sys.executable, "-c", code % "lockf"], stderr=subprocess.DEVNULL).returncode)

# Sockets and pipes with names.
server = socket.socket(socket.AF_UNIX)
server.bind("socket"), server.listen()
client = socket.socket(socket.AF_UNIX)
client.connect("socket"), client.send(b"hello")
print(server.accept()[0].recv(10), stat.S_ISSOCK(os.stat("socket").st_mode))
os.mkfifo("fifo", 0o640)
print(oct(os.stat("fifo").st_mode))
report("no reader", os.open, "fifo", os.O_WRONLY | os.O_NONBLOCK)
writer = threading.Thread(target=lambda: write("fifo", b"piped", os.O_WRONLY))
writer.start()
print(read("fifo"))
writer.join()

# What is not to be had.
report("device", os.mknod, "device", stat.S_IFCHR | 0o600, os.makedev(1, 3)) if os.getuid() else print("device EPERM")
report("chown", os.chown, "p", os.getuid(), os.getgid())
os.mkdir("closed")
write("closed/file", b"x")
os.chmod("closed", 0)
if os.getuid():
    report("list closed", os.listdir, "closed")
    report("enter closed", os.chdir, "closed")
os.chmod("closed", 0o755)
write("secret", b"x"), os.chmod("secret", 0)
if os.getuid():
    report("secret", os.open, "secret", os.O_RDONLY)
    report("access", os.access, "secret", os.R_OK)
report("statvfs", lambda: os.statvfs(".").f_namemax)
