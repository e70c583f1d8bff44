/** The weight of the old value when load rises, per sample of one second (MOSIX's 5/8). */
export const RISING_KEEPS = 5 / 8;

/** How often a node measures itself. */
export const SAMPLE_INTERVAL_MS = 1_000;

/**
 * The published load after a new sample. It rises slowly, so that a short burst draws nobody's attention, and
 * falls at once, so that free room is known as soon as it is there.
 */
export function smooth(old: number, sample: number): number {
  const value = Math.max(0, sample);
  return value > old ? RISING_KEEPS * old + (1 - RISING_KEEPS) * value : value;
}

/** The load of a node on which so many threads run or wait for a CPU (do not count the one that measures). */
export function loadSample(runnableThreads: number, cpus: number, speed: number): number {
  return runnableThreads / (Math.max(cpus, 0.1) * Math.max(speed, 0.01));
}
