// What was read and is not yet drawn.

import type { Item } from './types';

export class Ahead<T extends Item> {
  /** About how many bytes it holds. */
  held = 0;
  /** Nothing more will come. */
  complete = false;
  private items: T[] = [];
  private to = 0;

  get first(): T | undefined {
    return this.items[0];
  }

  get last(): T | undefined {
    return this.items.at(-1);
  }

  get empty(): boolean {
    return this.items.length === 0;
  }

  /** Everything up to this time was read. */
  get readTo(): number {
    return this.complete ? Infinity : this.to;
  }

  /** Adds what comes next. */
  push(items: readonly T[]): void {
    for (const item of items) {
      this.items.push(item);
      this.held += item.size;
      this.covers(item.t);
    }
  }

  /** Everything up to t was read, whether or not there was anything. */
  covers(t: number): void {
    this.to = Math.max(this.to, t);
  }

  /** Takes what happened up to t. */
  take(t: number): T[] {
    let n = 0;
    while (n < this.items.length && (this.items[n] as T).t <= t) n++;
    const taken = this.items.splice(0, n);
    for (const item of taken) this.held -= item.size;
    return taken;
  }

  /** Forgets everything: reading begins anew at t. */
  restart(t: number): void {
    this.items = [];
    this.held = 0;
    this.to = t;
    this.complete = false;
  }

  find(wanted: (item: T) => boolean): T | undefined {
    return this.items.find(wanted);
  }
}
