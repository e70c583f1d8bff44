/*
 * What can go wrong when talking to a node. `code` is stable; an agent's own refusals carry the agent's code
 * (`unknown-node`, `dead-node`, `denied`, `no-such-task`, `refused`, …).
 */

export class SkeinError extends Error {
  constructor(
    readonly code: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** There is no node here to talk to. */
export class NoNodeError extends SkeinError {
  constructor(message: string) {
    super('no-node', message);
  }
}

/** The node's agent is not there. */
export class NoAgentError extends SkeinError {
  constructor(message: string) {
    super('no-agent', message);
  }
}

/** The agent ended while it worked on a request; what became of that is open. */
export class AgentLostError extends SkeinError {
  constructor(request: string) {
    super(
      'agent-lost',
      `the agent was restarted during "${request}"; see with \`skein ps\` and \`skein nodes\` what became of it`,
    );
  }
}

export class TimeoutError extends SkeinError {
  constructor(message: string) {
    super('timeout', message);
  }
}

/** The caller's signal ended it, or the connection was closed. */
export class AbortedError extends SkeinError {
  constructor(message: string) {
    super('aborted', message);
  }
}

/** The agent says no. */
export class RefusedError extends SkeinError {}

/** The agent answered with something that is not of the agreed shape. */
export class BadAnswerError extends SkeinError {
  constructor(message: string) {
    super('bad-answer', message);
  }
}
