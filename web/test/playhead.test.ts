import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { Playhead } from '../src/player/playhead';
import type { Item, Source, Surface } from '../src/player/types';
import type { Keyframe } from '../src/types';

// Time stands still but for `frame`.
let now = 0;
let callback: ((now: number) => void) | undefined;
Object.assign(globalThis, {
  requestAnimationFrame: (f: (now: number) => void) => ((callback = f), 1),
  cancelAnimationFrame: () => void (callback = undefined),
});
performance.now = () => now;

async function frame(ms: number): Promise<void> {
  now += ms;
  const f = callback;
  callback = undefined;
  f?.(now);
  await settle();
}
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const item = (t: number, index: number): Item => ({ t, index, draws: true, size: 100 });

class FakeSurface implements Surface<Item> {
  element = undefined as unknown as HTMLElement;
  shown: number[] = [];
  resets: (number | null)[] = [];
  async reset(frame: Keyframe | null): Promise<void> {
    this.resets.push(frame?.index ?? null);
    this.shown = [];
  }
  apply(items: Item[]): void {
    this.shown.push(...items.map((i) => i.index));
  }
  async settled(): Promise<void> {}
  waitingSince(): undefined {}
  setPlaying(): void {}
  dispose(): void {}
}

class FakeSource implements Source<Item> {
  reads: string[] = [];
  constructor(
    readonly items: Item[],
    readonly frames: Keyframe[] = [],
  ) {}
  async keyframe(ms: number): Promise<Keyframe | null> {
    return this.frames.findLast((f) => f.t_ms <= ms) ?? null;
  }
  async *read(fromIndex: number, toMS: number | undefined, signal: AbortSignal): AsyncGenerator<Item[]> {
    this.reads.push(`${fromIndex}-${toMS ?? ''}`);
    for (const i of this.items) {
      await settle();
      signal.throwIfAborted();
      if (i.index >= fromIndex && i.t < (toMS ?? Infinity)) yield [i];
    }
  }
}

const every = (ms: number, n: number): Item[] => Array.from({ length: n }, (_, i) => item(i * ms, i));
const key = (t_ms: number, index: number): Keyframe => ({ t_ms, index, cols: 80, rows: 24 });
const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);

let surface: FakeSurface;
beforeEach(() => (surface = new FakeSurface()));

function head(source: FakeSource, duration: number): Playhead<Item> {
  const p = new Playhead<Item>(source, surface, () => {});
  p.duration = duration;
  p.keyframes = source.frames;
  return p;
}

test('a jump shows what a replay from the start shows', async () => {
  const p = head(new FakeSource(every(100, 50)), 5000);
  await p.seek(2050);
  assert.deepEqual(surface.shown, range(0, 20));
  assert.equal(p.position, 2050);
});

test('a jump starts at the keyframe and reads nothing before it', async () => {
  const source = new FakeSource(every(100, 50), [key(0, 0), key(2000, 20), key(4000, 40)]);
  const p = head(source, 5000);
  await p.seek(4350);
  assert.deepEqual(surface.resets, [40]);
  assert.deepEqual(surface.shown, range(41, 43));
  assert.ok(source.reads.every((r) => Number(r.split('-')[0]) > 40), source.reads.join(' '));
});

test('back within a keyframe starts there again, forward goes on from here', async () => {
  const p = head(new FakeSource(every(100, 50), [key(2000, 20)]), 5000);
  await p.seek(2500);
  await p.seek(2200);
  assert.deepEqual(surface.resets, [20, 20]);
  assert.deepEqual(surface.shown, [21, 22]);
  await p.seek(2900);
  assert.deepEqual(surface.resets, [20, 20]);
  assert.deepEqual(surface.shown, range(21, 29));
});

test('of several jumps the last one wins', async () => {
  const p = head(new FakeSource(every(100, 50), [key(1000, 10), key(3000, 30)]), 5000);
  await Promise.all([p.seek(1500), p.seek(4900), p.seek(3210)]);
  assert.equal(p.position, 3210);
  assert.deepEqual(surface.shown, [31, 32]);
});

test('time passes at the speed that was set, and everything is shown once', async () => {
  const p = head(new FakeSource(every(100, 50)), 4900);
  await p.seek(0);
  p.setSpeed(4);
  for (let i = 0; i < 100; i++) await settle(); // it reads ahead
  p.play();
  await frame(0);
  for (let i = 0; i < 10; i++) await frame(50);
  assert.equal(p.position, 2000);
  assert.deepEqual(surface.shown, range(0, 20));
  for (let i = 0; i < 40; i++) await frame(50);
  assert.equal(p.playing, false, 'it stops at the end');
  assert.deepEqual(surface.shown, range(0, 49));
});

test('idle time is skipped where that is on', async () => {
  const p = head(new FakeSource([item(0, 0), item(100, 1), item(60_000, 2), item(60_100, 3)]), 60_100);
  p.idle = [{ from_ms: 100, to_ms: 60_000 }];
  p.setSkipIdle(true);
  await p.seek(0);
  p.play();
  await frame(0);
  for (let i = 0; i < 20; i++) await frame(50);
  assert.deepEqual(surface.shown, [0, 1, 2, 3]);
});

test('a live session is followed without a hole or a repetition', async () => {
  const source = new FakeSource(every(100, 10));
  const p = head(source, 900);
  p.live = true;
  p.follow();
  await settle();
  source.items.push(item(1000, 10), item(1100, 11));
  p.arrive([item(1000, 10)]); // while it still reads what was before
  p.arrive([item(1100, 11)]);
  while (p.loading) await settle();
  p.arrive([item(1100, 11), item(1200, 12)]);
  assert.deepEqual(surface.shown, range(0, 12));
  assert.ok(p.following);
});

test('who scrolled back catches up by playing', async () => {
  const source = new FakeSource(every(100, 20));
  const p = head(source, 1900);
  p.live = true;
  await p.seek(500);
  p.arrive([item(2000, 20)]);
  source.items.push(item(2000, 20));
  p.play();
  await frame(0);
  for (let i = 0; i < 60 && !p.following; i++) await frame(100);
  while (p.loading) await settle();
  assert.ok(p.following);
  p.arrive([item(2100, 21)]);
  assert.deepEqual(surface.shown, range(0, 21));
});

test('a server that fails stops it and is said', async () => {
  const source = new FakeSource([]);
  source.read = async function* () {
    throw new Error('no disk');
  };
  const p = head(source, 100);
  await p.seek(50);
  assert.equal(p.error?.message, 'no disk');
  assert.equal(p.loading, false);
});

test('steps go to the next and the previous change', async () => {
  const p = head(new FakeSource(every(100, 10)), 900);
  await p.seek(300);
  await p.step(1);
  assert.equal(p.position, 400);
  await p.step(-1);
  assert.equal(p.position, 300);
  assert.equal(surface.shown.at(-1), 3);
});
