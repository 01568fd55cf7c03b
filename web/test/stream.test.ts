import assert from 'node:assert/strict';
import { test } from 'node:test';
import { lines, records } from '../src/stream';

// A body that arrives n bytes at a time.
function body(data: Uint8Array, n: number): Response {
  let at = 0;
  return new Response(
    new ReadableStream({
      pull(controller) {
        if (at >= data.length) controller.close();
        else controller.enqueue(data.slice(at, (at += n)));
      },
    }),
  );
}

async function all<T>(batches: AsyncGenerator<T[]>): Promise<T[]> {
  const got: T[] = [];
  for await (const batch of batches) got.push(...batch);
  return got;
}

test('lines come whole however the body is cut, also within a character', async () => {
  const values = [[0, 1, 'o', 'ü€😀\n'], [5, 2, 'r', '80x24'], { a: null }];
  const data = new TextEncoder().encode(values.map((v) => `${JSON.stringify(v)}\n`).join(''));
  for (let n = 1; n <= data.length; n++) assert.deepEqual(await all(lines(body(data, n))), values);
});

test('a last line needs no newline', async () => {
  assert.deepEqual(await all(lines(body(new TextEncoder().encode('1\n2'), 2))), [1, 2]);
});

test('records come whole however the body is cut', async () => {
  const want = [[1, 2, 3], [], [255]];
  const data = Uint8Array.from(want.flatMap((r) => [0, 0, 0, r.length, ...r]));
  for (let n = 1; n <= data.length; n++) {
    assert.deepEqual((await all(records(body(data, n)))).map((r) => [...r]), want);
  }
});

test('a body that ends inside a record is an error', async () => {
  await assert.rejects(all(records(body(Uint8Array.of(0, 0, 0, 9, 1), 2))), /ends inside a record/);
});

test('a length that no record has is refused before it is waited for', async () => {
  await assert.rejects(all(records(body(Uint8Array.of(0xff, 0, 0, 0, 1), 5))), /more than/);
});

test('who stops reading cancels the body', async () => {
  let cancelled = false;
  const response = new Response(
    new ReadableStream({
      pull: (controller) => controller.enqueue(new TextEncoder().encode('1\n')),
      cancel: () => void (cancelled = true),
    }),
  );
  for await (const _ of lines(response)) break;
  assert.equal(cancelled, true);
});
