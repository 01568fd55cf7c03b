// The playhead: where one is in a recording, and what has to be drawn to be there.
//
// It reads ahead of itself in stretches, and only as much as it may hold. A jump
// starts at the newest keyframe before its target and reads on from there, so it
// costs the same wherever it goes. A live session is followed at its end; who
// scrolls back plays what is stored, and catches up by playing or by `follow`.

import type { Span } from '../types';
import { Ahead } from './ahead';
import { skipGap, skipSpan } from './idle';
import type { Item, Source, Surface } from './types';

/** How far it reads ahead, in milliseconds of viewing. */
const aheadMS = 15_000;
/** The most it holds of what is not yet drawn, in bytes. */
const aheadBytes = 8 << 20;
/** The most that is drawn in one go when it jumps. */
const stepBytes = 1 << 20;

export type Change = 'time' | 'state' | 'error';

export class Playhead<T extends Item> {
  position = 0;
  duration = 0;
  speed = 1;
  playing = false;
  skipIdle = false;
  /** The session still runs. */
  live = false;
  /** It shows a live session as it happens. */
  following = false;
  /** It has nothing to draw yet: at first, and while it waits for the server. */
  loading = true;
  error: Error | undefined;
  idle: readonly Span[] = [];
  keyframes: readonly { t_ms: number; index: number }[] = [];

  /** Time and index of the newest item handed to the surface. */
  private drawn = { t: 0, index: -1 };
  private readonly ahead = new Ahead<T>();
  private filling = false;
  private stale = true; // the surface shows nothing of use
  private pending: T[] | undefined; // live items while it catches up
  private liveAt = { t: 0, clock: 0 };
  private last: number | undefined;
  private frame = 0;
  private epoch = 0;
  private abort = new AbortController();

  constructor(
    private readonly source: Source<T>,
    private readonly surface: Surface<T>,
    private readonly onChange: (what: Change) => void,
  ) {}

  play(): void {
    if (this.playing) return;
    this.playing = true;
    this.last = undefined;
    this.surface.setPlaying(true);
    if (this.live && this.position >= this.duration) this.follow();
    else if (this.position >= this.duration) void this.seek(0);
    this.schedule();
    this.onChange('state');
  }

  pause(): void {
    if (!this.playing) return;
    this.playing = false;
    this.following = false;
    this.pending = undefined;
    this.surface.setPlaying(false);
    this.onChange('state');
  }

  toggle(): void {
    if (this.playing) this.pause();
    else this.play();
  }

  setSpeed(speed: number): void {
    this.speed = speed;
    this.fill();
    this.onChange('state');
  }

  setSkipIdle(on: boolean): void {
    this.skipIdle = on;
    this.onChange('state');
  }

  /** Time that drawing is behind, in milliseconds of the recording. */
  lag(): number {
    const since = this.surface.waitingSince();
    return since === undefined ? 0 : Math.max(0, this.position - since);
  }

  /** Goes to ms. The newest call wins; what an older one was reading is given up. */
  async seek(ms: number): Promise<void> {
    const target = Math.max(0, Math.min(ms, this.duration));
    this.following = false;
    this.pending = undefined;
    await this.attempt(async (signal) => {
      this.position = target;
      this.loading = true;
      this.onChange('time');
      if (!this.canGoForward(target)) await this.restart(target, signal);
      await this.drawTo(target, signal);
      await this.surface.settled();
    });
  }

  /** Shows a live session as it happens, from now on. */
  follow(): void {
    if (!this.live) return;
    this.following = true;
    this.pending = [];
    if (!this.playing) {
      this.playing = true;
      this.surface.setPlaying(true);
      this.schedule();
    }
    this.onChange('state');
    void this.attempt(async (signal) => {
      this.loading = true;
      if (!this.canGoForward(this.duration)) await this.restart(this.duration, signal);
      await this.drawTo(undefined, signal);
      const late = this.pending ?? [];
      this.pending = undefined;
      this.draw(late.filter((item) => item.index > this.drawn.index));
      this.position = this.duration;
    });
  }

  /** Takes items of a live session as they come. */
  arrive(items: T[]): void {
    const newest = items.at(-1);
    if (newest === undefined) return;
    this.extend(newest.t);
    this.ahead.complete = false;
    if (this.pending !== undefined) this.pending.push(...items);
    else if (this.following) {
      this.draw(items.filter((item) => item.index > this.drawn.index));
      this.position = this.duration;
      this.onChange('time');
    }
  }

  /** The session is known to have gone on until t. */
  extend(t: number): void {
    this.duration = Math.max(this.duration, t);
    this.liveAt = { t: this.duration, clock: performance.now() };
  }

  /** The session is over. */
  end(): void {
    this.live = false;
    if (this.following) this.pause();
    this.onChange('state');
  }

  /** Shows the item after the newest one that is shown, or with -1 the one before it. */
  async step(direction: 1 | -1): Promise<void> {
    this.pause();
    if (direction > 0) {
      await this.attempt(async (signal) => {
        const next = await this.nextTime(signal);
        if (next === undefined) return;
        await this.drawTo(next, signal);
        this.position = next;
      });
      return;
    }
    const before = await this.timeBefore(this.drawn.t);
    if (before !== undefined) await this.seek(before);
  }

  dispose(): void {
    cancelAnimationFrame(this.frame);
    this.playing = false;
    this.abort.abort();
    this.surface.dispose();
  }

  // Forward from here beats a keyframe if none lies between.
  private canGoForward(target: number): boolean {
    if (this.stale || target < this.drawn.t) return false;
    if (target <= this.ahead.readTo) return true;
    return !this.keyframes.some((k) => k.t_ms > this.drawn.t && k.t_ms <= target && k.index > this.drawn.index);
  }

  private async restart(target: number, signal: AbortSignal): Promise<void> {
    const has = this.keyframes.some((k) => k.t_ms <= target);
    const frame = has ? await this.source.keyframe(target, signal) : null;
    signal.throwIfAborted();
    this.stale = true;
    this.drawn = { t: frame?.t_ms ?? 0, index: frame?.index ?? -1 };
    this.ahead.restart(this.drawn.t);
    await this.surface.reset(frame);
    signal.throwIfAborted();
    this.stale = false;
  }

  /** Draws everything up to target; the end of what there is, if it is undefined. */
  private async drawTo(target: number | undefined, signal: AbortSignal): Promise<void> {
    this.draw(this.ahead.take(target ?? Infinity));
    if (!this.ahead.empty || this.ahead.readTo > (target ?? Number.MAX_VALUE)) return;
    let batch: T[] = [];
    let size = 0;
    for await (const items of this.source.read(this.drawn.index + 1, target === undefined ? undefined : target + 1, signal)) {
      signal.throwIfAborted();
      for (const item of items) {
        if (target !== undefined && item.t > target) {
          this.draw(batch);
          this.ahead.push([item]);
          return;
        }
        batch.push(item);
        size += item.size;
      }
      if (size > stepBytes) {
        this.draw(batch);
        await this.surface.settled();
        batch = [];
        size = 0;
      }
    }
    signal.throwIfAborted();
    this.draw(batch);
    this.ahead.covers(target ?? this.drawn.t);
  }

  private draw(items: T[]): void {
    const newest = items.at(-1);
    if (newest === undefined) return;
    this.drawn = { t: Math.max(newest.t, this.drawn.t), index: newest.index };
    this.surface.apply(items.filter((item) => item.draws));
  }

  /** Reads ahead, if it is not reading and has little left. */
  private fill(): void {
    const ahead = aheadMS * Math.max(1, this.speed);
    if (this.filling || this.ahead.complete || this.stale || this.following) return;
    if (this.ahead.readTo > this.position + ahead / 2 || this.ahead.held > aheadBytes / 2) return;
    this.filling = true;
    const { signal } = this.abort;
    // An idle stretch has nothing to hold: reading goes over it in one go.
    this.readAhead(skipSpan(this.position + ahead, this.idle), signal)
      .catch((err: unknown) => {
        if (!signal.aborted) this.fail(err);
      })
      .finally(() => {
        if (!signal.aborted) this.filling = false;
      });
  }

  private async readAhead(to: number, signal: AbortSignal): Promise<void> {
    const from = (this.ahead.last?.index ?? this.drawn.index) + 1;
    for await (const items of this.source.read(from, to, signal)) {
      if (signal.aborted) return;
      this.ahead.push(items);
      if (this.ahead.held > aheadBytes) return;
    }
    if (signal.aborted) return;
    this.ahead.covers(to);
    if (to > this.duration && !this.live) this.ahead.complete = true;
  }

  private schedule(): void {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame((now) => {
      this.tick(now);
      if (this.playing) this.schedule();
    });
  }

  private tick(now: number): void {
    const passed = this.last === undefined ? 0 : now - this.last;
    this.last = now;
    if (!this.playing || this.loading) return;
    if (this.following) {
      this.position = this.duration = this.liveAt.t + Math.max(0, performance.now() - this.liveAt.clock);
      this.onChange('time');
      return;
    }
    this.advance(passed * this.speed);
    this.fill();
    this.onChange('time');
    if (this.position < this.duration) return;
    if (this.live) this.follow();
    else this.pause();
  }

  private advance(by: number): void {
    let to = this.position + by;
    if (this.skipIdle) {
      const next = this.ahead.first;
      to = next === undefined ? skipSpan(to, this.idle) : skipGap(to, this.drawn.t, next.t);
    }
    this.position = Math.min(to, this.duration, Math.max(this.ahead.readTo, this.position));
    this.draw(this.ahead.take(this.position));
  }

  // The time of the first item that is not drawn yet.
  private async nextTime(signal: AbortSignal): Promise<number | undefined> {
    const first = this.ahead.find((item) => item.draws);
    if (first !== undefined) return first.t;
    for await (const items of this.source.read(this.drawn.index + 1, undefined, signal)) {
      const item = items.find((i) => i.draws);
      if (item !== undefined) return item.t;
    }
    return undefined;
  }

  // The time of the last item before t, looked for from the keyframe before it on.
  private async timeBefore(t: number): Promise<number | undefined> {
    let found: number | undefined;
    const start = [...this.keyframes].reverse().find((k) => k.t_ms < t)?.index ?? -1;
    for await (const items of this.source.read(start + 1, t, this.abort.signal)) {
      for (const item of items) if (item.draws && item.t < t) found = item.t;
    }
    return found;
  }

  /** Runs one jump; a newer one aborts it. */
  private async attempt(jump: (signal: AbortSignal) => Promise<void>): Promise<void> {
    this.abort.abort();
    this.abort = new AbortController();
    const { signal } = this.abort;
    const mine = ++this.epoch;
    this.filling = false;
    this.error = undefined;
    try {
      await jump(signal);
    } catch (err) {
      if (!signal.aborted) this.fail(err);
      return;
    } finally {
      if (mine === this.epoch) {
        this.loading = false;
        this.last = undefined;
        this.onChange('time');
        this.onChange('state');
      }
    }
    this.fill();
  }

  private fail(err: unknown): void {
    this.error = err instanceof Error ? err : new Error(String(err));
    this.playing = false;
    this.following = false;
    this.loading = false;
    this.surface.setPlaying(false);
    this.onChange('error');
    this.onChange('state');
  }
}
