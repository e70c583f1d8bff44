# A repository.
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
export GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'
git init -q -b main r && cd r
for i in $(seq 50); do mkdir -p "d$((i % 7))" && seq "$i" >"d$((i % 7))/f$i"; done
git add . && git commit -qm one && git log --format=%H
git checkout -q -b side && git mv d1 e1 && seq 5 >d2/new && chmod +x d2/new && git add . && git commit -qm side
git checkout -q main && echo main >>d3/f3 && git commit -qam main && git merge -q --no-edit side && git log --format='%H %s'
git status --porcelain && git gc -q && git fsck && git diff HEAD~1 --stat | tail -1
git clone -q . ../clone && cd ../clone && git log -1 --format=%H && git status --porcelain && ls
git stash list && rm -rf d0 && git checkout -q . && git status --porcelain && echo clean
# How objects were packed is a matter of timing.
git fsck && rm -rf .git ../r/.git
