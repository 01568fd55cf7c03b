// The events that the seek bar marks, and how one goes from one to the next.

import type { Marker, Timeline } from '../types';
import { category } from './describe';

/** Marks that are closer than this are one to the keyboard. */
const tooClose = 500;

/** Those worth a mark: traffic counters and events of no sort are not. */
export function keyMarkers(markers: readonly Marker[]): Marker[] {
  return markers.filter((m) => category(m.type) !== 'other' && m.type !== 'session.data');
}

/** The time of the next mark in a direction; problems count as marks. */
export function nextMarker(timeline: Timeline, from: number, direction: 1 | -1): number | undefined {
  const times = [...(timeline.markers ?? []), ...(timeline.problems ?? [])].map((m) => m.t_ms).sort((a, b) => a - b);
  return direction > 0 ? times.find((t) => t > from + 1) : times.findLast((t) => t < from - tooClose);
}
