# A big directory, read while it changes.
mkdir big && (cd big && seq 10000 | xargs touch) && ls big | wc -l
python3 - <<'PYTHON'
import os
seen = []
with os.scandir("big") as entries:
    for number, entry in enumerate(entries):
        seen.append(entry.name)
        if number % 3 == 0:
            os.unlink("big/" + entry.name)
print(len(seen), len(set(seen)), sorted(seen) == sorted(map(str, range(1, 10001))))
left = os.listdir("big")
print(len(left), len(set(left)))
print(sum(entry.stat().st_size == 0 for entry in os.scandir("big")))
# Everything that was there all the time comes once, whatever comes and goes meanwhile.
names, number = [], 0
for entry in os.scandir("big"):
    names.append(entry.name)
    number += 1
    if number % 5 == 0:
        open(f"big/new{number}", "w").close()
        os.rename(f"big/new{number}", f"big/newer{number}")
print(len(set(left) - set(names)), len(names) - len(set(names)))
PYTHON
rm -r big && ls -A
