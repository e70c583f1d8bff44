/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKEIN_ZAP_H
#define SKEIN_ZAP_H

#define ZAP_MAX_KEYS 16

struct zap;

/* Start the handler of one ZeroMQ context: before the first CURVE server of it binds. 0 or -errno. */
int zap_start(void *context, struct zap **zap);
/* Messages of an allowed client carry its public key (Z85) as zmq_msg_gets(message, "User-Id"). */
/* Let in, or no longer let in, the client with this public key (Z85). Only new connections are asked about: a
 * connection that stands is not cut. 0, -EINVAL or -ENOSPC. */
int zap_allow(struct zap *zap, const char *public_key);
void zap_forbid(struct zap *zap, const char *public_key);
/* Ends the thread; before zmq_ctx_term. NULL is fine. */
void zap_stop(struct zap *zap);

#endif
