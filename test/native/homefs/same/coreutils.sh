# Everyday commands.
umask 022
mkdir -p a/b/c && echo one >a/one && printf 'two\nthree\n' >a/b/two
cat a/one a/b/two
cp -r a copy && diff -r a copy && echo copied
mv copy/b moved && ls -R moved copy
ln a/one hard && ln -s a/one soft && ln -s nowhere dangling
stat -c '%n %F %a %h %s' a a/one hard soft dangling moved/two
readlink soft dangling
cat soft && cat dangling
echo more >>soft && cat hard
touch -d '2001-02-03 04:05:06.789012345 UTC' a/one && TZ=UTC stat -c '%y' hard
touch -h -d '1969-12-31 00:00:00 UTC' dangling && TZ=UTC stat -c '%y' dangling
chmod 4751 a/one && stat -c %a a/one && chmod u-s,g=u a/one && stat -c %a a/one
(umask 077 && mkdir closed && echo x >closed/x && stat -c '%n %a' closed closed/x)
(umask 0 && mkdir open && mkfifo open/fifo && echo x >open/x && stat -c '%n %a %F' open open/*)
rmdir a && echo 'removed a full directory'
rmdir a/b/c && ls a/b
mv -n a/one a/b/two && cat a/b/two
mv -T moved a && echo 'moved onto a full directory'
mv a/b/two a/one && cat a/one
mkdir a/one && echo 'made a directory over a file'
ls missing missing/deeper a/one/deeper
echo x >a && echo 'wrote to a directory'
truncate -s 5 a/one && cat a/one && truncate -s 70000 a/one && tail -c 3 a/one | od -c
dd if=/dev/zero of=holes bs=1 count=1 seek=10M status=none && stat -c %s holes
[ "$(stat -c %b holes)" -lt 100 ] && echo 'a hole takes no room'
seq 100000 | sort -R --random-source=/dev/zero >numbers && sort -n -o numbers numbers && sha256sum numbers
sed -i 's/^99999$/changed/' numbers && grep -c changed numbers && wc -l numbers
split -n 7 numbers part. && cat part.* | cmp - numbers && rm part.*
find . -name '*o*' | sort && find a -delete && ls
deep=. && for i in $(seq 200); do deep=$deep/d; done && mkdir -p "$deep" && echo bottom >"$deep/file" && cat "$deep/file"
rm -rf d && ls
mkfifo pipe && (echo through >pipe & cat pipe; wait)
cp --sparse=always holes holes2 && cmp holes holes2 && cp -a soft soft2 && readlink soft2
install -m 640 numbers installed && stat -c %a installed
[ -r installed ] && [ -w installed ] && [ ! -x installed ] && echo 'access is right'
cd /nowhere || cd dangling || echo 'no such place'
mkdir gone && cd gone && rmdir ../gone && ls -la . && echo x >y
cd .. && pwd -P | sed 's/.*\///' | wc -l
