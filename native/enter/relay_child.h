/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKEIN_RELAY_CHILD_H
#define SKEIN_RELAY_CHILD_H

/* Execute the command in a child, which is the first process that gets the pid namespace just entered, and stand in
 * for it: signals, stops and the way it ends are passed on. Does not return. */
_Noreturn void relay_child(char **command);
/* Replace this process by the command; ends with 126 or 127 and a line when that is not possible. */
_Noreturn void execute(char **command);

#endif
