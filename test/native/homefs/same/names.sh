# Names of any bytes and any length.
export LC_ALL=C
long=$(printf 'x%.0s' $(seq 255))
echo 1 >"$long" && cat "$long" && echo 2 >"${long}y"
mkdir "$long.d" 2>&1 | tail -c 20
odd=$'a\nb\t\x80\xff\xc3( )\'"*?'
mkdir "$odd" && echo 3 >"$odd/$odd" && ln -s "$odd" "$odd/link" && ls -b "$odd" && readlink "$odd/link" | od -c
mv "$odd" $'\xe2\x82' && cat $'\xe2\x82/'*
echo 4 >'-dash' && echo 5 >' ' && echo 6 >'...' && ls -abA && cat -- -dash ' ' ...
ln -s "$(printf 'y%.0s' $(seq 4000))" far && readlink far | wc -c
ln -s "$(printf 'y%.0s' $(seq 5000))" farther 2>&1 | tail -c 20
