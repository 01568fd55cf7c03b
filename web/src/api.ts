// The API, one function a call. Paths are built here and nowhere else.

import { lines } from './stream';
import type { EventLine, Keyframe, Session, SessionDetail, SessionPage, Timeline, Viewer } from './types';

const root = '/api/v1';

/** What the server said instead of an answer; code is its machine-readable name. */
export class APIError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** Called when the server no longer knows who is asking. */
export const onUnauthorized: { run: () => void } = { run: () => {} };

export function sessionPath(sid: string, rest = ''): string {
  return `${root}/sessions/${encodeURIComponent(sid)}${rest}`;
}

export function query(params: Record<string, string | number | undefined>): string {
  const q = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== undefined && value !== '') q.set(name, String(value));
  }
  const text = q.toString();
  return text === '' ? '' : `?${text}`;
}

/** Fetches path and refuses every status that is not 2xx with an APIError. */
export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { credentials: 'same-origin', ...init });
  } catch (err) {
    if (init.signal?.aborted) throw err;
    throw new APIError(0, 'unreachable', 'The server does not answer.');
  }
  if (response.ok) return response;
  const body = (await response.json().catch(() => ({}))) as { error?: string; code?: string };
  const failure = new APIError(
    response.status,
    body.code ?? '',
    body.error ?? `The server answered ${response.status} ${response.statusText}.`,
  );
  if (response.status === 401 && !path.endsWith('/login')) onUnauthorized.run();
  throw failure;
}

async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await request(path, signal ? { signal } : {});
  return (await response.json()) as T;
}

function post(path: string, body?: unknown): Promise<Response> {
  return request(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body ?? {}),
  });
}

export const me = (): Promise<Viewer> => get(`${root}/me`);
export const login = (token: string): Promise<Response> => post(`${root}/login`, { token });
export const logout = (): Promise<Response> => post(`${root}/logout`);

export const sessions = (params: Record<string, string | number | undefined>, signal?: AbortSignal): Promise<SessionPage> =>
  get(`${root}/sessions${query(params)}`, signal);

export const session = (sid: string): Promise<SessionDetail> => get(sessionPath(sid));
export const timeline = (sid: string): Promise<Timeline> => get(sessionPath(sid, '/timeline'));

export async function verify(sid: string): Promise<{ ok: boolean; text: string }> {
  return (await (await post(sessionPath(sid, '/verify'))).json()) as { ok: boolean; text: string };
}

/** The newest keyframe at or before atMS, or null if the recording has none. */
export async function keyframe(sid: string, atMS: number, signal: AbortSignal): Promise<Keyframe | null> {
  try {
    return await get<Keyframe>(sessionPath(sid, `/screen${query({ at_ms: Math.floor(atMS) })}`), signal);
  } catch (err) {
    if (err instanceof APIError && err.status === 404) return null;
    throw err;
  }
}

/** Events other than prints, from an index on, at most limit of them. */
export async function events(sid: string, fromIndex: number, limit: number, signal: AbortSignal): Promise<EventLine[]> {
  const response = await request(
    sessionPath(sid, `/events${query({ from_index: fromIndex, prints: 0, limit })}`),
    { signal },
  );
  const all: EventLine[] = [];
  for await (const batch of lines<EventLine | { error: string }>(response)) {
    for (const line of batch) if ('event' in line) all.push(line); // a damaged recording ends with an error
  }
  return all;
}

/** Reads the list's changes until the returned function is called. */
export function changes(onSession: (s: Session) => void, onState: (connected: boolean) => void): () => void {
  const source = new EventSource(`${root}/sessions/changes`);
  source.addEventListener('session', (e) => onSession(JSON.parse((e as MessageEvent<string>).data) as Session));
  source.addEventListener('open', () => onState(true));
  source.addEventListener('error', () => onState(false));
  return () => source.close();
}
