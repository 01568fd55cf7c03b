// Where nothing happens, and how far a playhead that skips it may jump.

import type { Span } from '../types';

/** A gap that is skipped still lasts this long, so that one sees that there was one. */
export const idleCap = 500;

/**
 * Where a playhead that would be at `to` should be, skipping: from `last`, the time of
 * the newest item shown, to `next`, that of the item after it.
 */
export function skipGap(to: number, last: number, next: number): number {
  return next - last > idleCap && to > last + idleCap && to < next ? next : to;
}

/** The same by the idle stretches of an index, for when the next item is not loaded. */
export function skipSpan(to: number, spans: readonly Span[]): number {
  for (const span of spans) {
    if (span.from_ms > to) break;
    if (to > span.from_ms + idleCap && to < span.to_ms) return span.to_ms;
  }
  return to;
}
