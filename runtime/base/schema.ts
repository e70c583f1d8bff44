/*
 * What a message must look like. A check takes any value and gives it back typed, or says what is wrong with it.
 */

export class ShapeError extends Error {
  constructor(path: string, problem: string) {
    super(path === '' ? problem : `${path}: ${problem}`);
    this.name = 'ShapeError';
  }
}

export type Check<T> = (value: unknown, path: string) => T;
export type TypeOf<C> = C extends Check<infer T> ? T : never;

export const boolean: Check<boolean> = (value, path) => {
  if (typeof value !== 'boolean') throw new ShapeError(path, 'is no boolean');
  return value;
};

/** A whole number; what came as a 64-bit integer is turned into a number if it fits. */
export function integer(least: number, most: number): Check<number> {
  return (value, path) => {
    const number = typeof value === 'bigint' ? Number(value) : value;
    if (typeof number !== 'number' || !Number.isSafeInteger(number))
      throw new ShapeError(path, 'is no whole number');
    if (number < least || number > most) throw new ShapeError(path, `is not from ${least} to ${most}`);
    return number;
  };
}

export function real(least: number, most: number): Check<number> {
  return (value, path) => {
    const number = typeof value === 'bigint' ? Number(value) : value;
    if (typeof number !== 'number' || !(number >= least && number <= most))
      throw new ShapeError(path, `is no number from ${least} to ${most}`);
    return number;
  };
}

/** Text, or bytes that are read as UTF-8. */
export function text(mostBytes: number): Check<string> {
  return (value, path) => {
    const string = value instanceof Uint8Array ? Buffer.from(value).toString('utf8') : value;
    if (typeof string !== 'string') throw new ShapeError(path, 'is no text');
    if (string.length > mostBytes) throw new ShapeError(path, `is longer than ${mostBytes}`);
    return string;
  };
}

export function matching(pattern: RegExp, what: string): Check<string> {
  return (value, path) => {
    if (typeof value !== 'string' || value.length > 1000 || !pattern.test(value))
      throw new ShapeError(path, `is no ${what}`);
    return value;
  };
}

/** Bytes as they are; text is taken as UTF-8. */
export function bytes(most: number): Check<Buffer> {
  return (value, path) => {
    const buffer = typeof value === 'string' ? Buffer.from(value) : value;
    if (!(buffer instanceof Uint8Array)) throw new ShapeError(path, 'is no bytes');
    if (buffer.length > most) throw new ShapeError(path, `is longer than ${most}`);
    return Buffer.from(buffer);
  };
}

export function oneOf<const T extends string>(...values: readonly T[]): Check<T> {
  return (value, path) => {
    const found = values.find((one) => one === value);
    if (found === undefined) throw new ShapeError(path, `is none of ${values.join(', ')}`);
    return found;
  };
}

export function list<T>(item: Check<T>, most: number): Check<T[]> {
  return (value, path) => {
    if (!Array.isArray(value)) throw new ShapeError(path, 'is no list');
    if (value.length > most) throw new ShapeError(path, `has more than ${most} items`);
    return value.map((one: unknown, index) => item(one, `${path}[${index}]`));
  };
}

/** Missing or nil becomes `otherwise`. */
export function optional<T, const U>(check: Check<T>, otherwise: U): Check<T | U> {
  return (value, path) => (value === undefined || value === null ? otherwise : check(value, path));
}

type Fields = Readonly<Record<string, Check<unknown>>>;

/** A map with these fields; others are passed over, so that a newer peer may say more. */
export function object<F extends Fields>(fields: F): Check<{ [K in keyof F]: TypeOf<F[K]> }> {
  return (value, path) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value) || value instanceof Uint8Array)
      throw new ShapeError(path, 'is no map');
    const source = value as Record<string, unknown>;
    const result: Record<string, unknown> = {};
    for (const [name, check] of Object.entries(fields))
      result[name] = check(
        Object.hasOwn(source, name) ? source[name] : undefined,
        path === '' ? name : `${path}.${name}`,
      );
    return result as { [K in keyof F]: TypeOf<F[K]> };
  };
}
