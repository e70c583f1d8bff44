# Programs run from here.
cp /bin/cat here && echo text | ./here
printf '#!/bin/sh\necho "script $1"\n' >script && ./script one; chmod +x script && ./script two
cp "$(command -v bash)" shell && ./shell -c 'echo $((6*7))'
(exec ./here </dev/null)
cp /bin/sleep sleeper
./sleeper 30 &
pid=$!
until [ "$(readlink /proc/$pid/exe | sed 's|.*/||')" = sleeper ]; do :; done
# A program that runs can't be written to, but can be replaced.
(echo x >sleeper) 2>&1 | sed 's/.*: //'
cp /bin/true new && mv new sleeper && ./sleeper && echo replaced
kill $pid; wait $pid 2>/dev/null; echo $?
chmod 644 here && ./here; echo $?
mkdir lib && cp /lib/x86_64-linux-gnu/libz.so.1 lib && LD_LIBRARY_PATH=lib python3 -c 'import zlib; print(zlib.crc32(b"x"), "lib/libz" in open("/proc/self/maps").read())'
