// What the playhead needs of a kind of recording: where its items come from and
// what draws them. Terminal and desktop each have one of both.

import type { Keyframe } from '../types';

/** Something that happened at t milliseconds; index is its event's. */
export interface Item {
  readonly t: number;
  readonly index: number;
  /** False for items that change nothing on the screen. */
  readonly draws: boolean;
  /** About how much memory it takes. */
  readonly size: number;
}

export interface Source<T extends Item> {
  /** The newest picture of the screen at or before ms; null if the recording has none. */
  keyframe(ms: number, signal: AbortSignal): Promise<Keyframe | null>;
  /**
   * The items from an index on, in order, up to toMS (all there are, if undefined).
   * Who stops reading early ends the request.
   */
  read(fromIndex: number, toMS: number | undefined, signal: AbortSignal): AsyncGenerator<T[]>;
}

export interface Surface<T extends Item> {
  readonly element: HTMLElement;
  /** Called once, when the element is in the document; nothing is drawn before. */
  mount(): Promise<void>;
  /** Shows a keyframe, or without one an empty screen as at the session's start. */
  reset(frame: Keyframe | null): Promise<void>;
  /** Draws items in order. What cannot be drawn at once is queued. */
  apply(items: T[]): void;
  /** Resolves when everything applied so far is drawn. */
  settled(): Promise<void>;
  /** Time of the newest item that is drawn, not merely queued; undefined if nothing waits. */
  waitingSince(): number | undefined;
  setPlaying(playing: boolean): void;
  dispose(): void;
}
