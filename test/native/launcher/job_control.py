#!/usr/bin/env python3
"""Job control through skein-enter --pid, as a shell on a terminal sees it. Arguments: skein-enter and a node folder.

With `listen` alone it is the command that is run there: it says when it reads, since a shell changes the terminal's
mode before that and loses what was typed earlier.
"""
import os
import pty
import re
import select
import signal
import sys
import time

LIMIT_S = 20
if sys.argv[1:] == ['listen']:
    # A signal that comes just before the wait ends it too.
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGCONT, lambda *_: None)
    print('reading', flush=True)
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 64)
            print('going on', flush=True)
        if 0 in ready:
            print('read', os.read(0, 64).decode().strip(), flush=True)

enter, state = sys.argv[1:]
pid, terminal = pty.fork()
if pid == 0:
    os.environ['PS1'] = 'prompt> '
    os.execvp('bash', ['bash', '--norc', '--noprofile', '-i'])

seen = ''


def expect(pattern):
    """Wait until the terminal shows the pattern, and forget all up to its end."""
    global seen
    deadline = time.monotonic() + LIMIT_S
    while True:
        match = re.search(pattern, seen)
        if match:
            seen = seen[match.end():]
            return
        ready, _, _ = select.select([terminal], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            sys.exit(f'FAILED: {pattern!r} did not appear; the terminal shows {seen!r}')
        seen += os.read(terminal, 4096).decode('utf-8', 'replace')


def send(text):
    os.write(terminal, text.encode())


expect('prompt> ')
send(f'{enter} --state {state} --pid -- python3 {os.path.abspath(__file__)} listen\n')
expect('reading\r\n')
send('one\n')
expect('read one\r\n')
send('\x1a')
expect('Stopped')
expect('prompt> ')
send('fg\n')
expect('going on\r\n')
send('two\n')
expect('read two\r\n')
send('\x03')
expect('prompt> ')
send('echo "status=$?"\n')
expect('status=130')
send(f'{enter} --state {state} --pid -- sh -c "stty size; exit 3"; echo "status=$?"\n')
expect('status=3')
send('exit\n')
_, status = os.waitpid(pid, 0)
sys.exit(os.waitstatus_to_exitcode(status))
