// What the API answers; internal/web/openapi.yaml is the reference.

export type State = 'live' | 'ending' | 'finished' | 'lost';

export interface Problem {
  kind: string;
  text: string;
}

export interface Session {
  session: string;
  state: State;
  outcome?: string;
  kind?: string;
  user?: string;
  login?: string;
  host?: string;
  node?: string;
  started?: string;
  ended?: string;
  duration_ms?: number;
  events?: number;
  missing?: number;
  late?: number;
  bytes?: number;
  parts?: number;
  cols?: number;
  rows?: number;
  problems?: Problem[] | null;
}

export interface SessionDetail extends Session {
  metadata?: Record<string, unknown> | null;
  manifest?: boolean;
  indexed?: boolean;
  verify?: { ok: boolean; text: string } | null;
}

export interface SessionPage {
  sessions: Session[] | null;
  next: string;
}

export interface Marker {
  t_ms: number;
  index: number;
  type: string;
  code?: string;
  label?: string;
}

export interface Span {
  from_ms: number;
  to_ms: number;
}

export interface TimedProblem extends Problem {
  t_ms: number;
}

export interface Timeline {
  duration_ms: number;
  kind?: string;
  cols?: number;
  rows?: number;
  bucket_ms: number;
  activity: number[] | null;
  markers: Marker[] | null;
  idle: Span[] | null;
  sizes: { t_ms: number; cols: number; rows: number }[] | null;
  keyframes: { t_ms: number; index: number }[] | null;
  problems: TimedProblem[] | null;
  indexed: boolean;
}

/** A picture of the screen: of a terminal as escape sequences, of a desktop as a PNG in base64. */
export interface Keyframe {
  t_ms: number;
  index: number;
  cols: number;
  rows: number;
  data?: string;
  png?: string;
}

export interface EventLine {
  t_ms: number;
  index: number;
  event: Record<string, unknown>;
}

export interface Viewer {
  name: string;
  role: 'admin' | 'auditor';
  filter?: unknown;
}
