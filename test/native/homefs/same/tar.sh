# An archive of a tree with every kind of file is the same after a stay here.
mkdir tree && cd tree
mkdir -p usr/{bin,lib} && cp /bin/true usr/bin && ln usr/bin/true usr/bin/false && ln -s bin usr/sbin && mkfifo pipe
dd if=/dev/zero of=sparse bs=1 count=1 seek=1M status=none && chmod 1777 usr/lib && chmod 4711 usr/bin/true
for i in $(seq 300); do echo "$i" >"usr/lib/file$i"; done
find . -exec touch -h -d '2020-02-02 02:02:02.020202 UTC' {} +
cd ..
pack() { tar --format=posix --pax-option=exthdr.name=%d/%f,delete=atime,delete=ctime --sort=name --owner=0 --group=0 --numeric-owner -C "$1" -c .; }
pack tree >tree.tar && sha256sum <tree.tar
mkdir out && tar -C out -xpf tree.tar && pack out | sha256sum
tar -df tree.tar -C tree && echo equal
stat -c '%a %h %n' out/usr/bin/* out/usr/lib
rm -rf tree && ls
