# A database: journals, shared memory, locks between processes.
import sqlite3, subprocess, sys
for mode in ["delete", "wal"]:
    path = mode + ".db"
    base = sqlite3.connect(path, timeout=30)
    print(base.execute(f"pragma journal_mode={mode}").fetchone())
    base.execute("create table t (k integer primary key, v text, who text)")
    base.executemany("insert into t (v, who) values (?, 'first')", [(f"value {i}",) for i in range(2000)])
    base.commit()
    code = f"""
import sqlite3
base = sqlite3.connect({path!r}, timeout=30, isolation_level=None)
for i in range(40):
    base.execute("begin immediate")
    base.execute("insert into t (v, who) values (?, 'other')", (str(i),))
    base.execute("commit")
"""
    other = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    for i in range(40):
        with base:
            base.execute("update t set v = v || 'x' where k % 40 = ? and who = 'first'", (i,))
    print([one.wait() for one in other])
    print(base.execute("select count(*), count(distinct k), sum(length(v)) from t").fetchone())
    with base:
        base.execute("delete from t where who = 'other'")
    try:
        with base:
            base.execute("delete from t")
            raise ValueError
    except ValueError:
        pass
    print(base.execute("select count(*) from t").fetchone(), base.execute("pragma integrity_check").fetchone())
    base.execute("vacuum")
    base.close()
