import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clock, seconds, spoken } from '../src/format';
import { describe as describeEvent, category } from '../src/player/describe';
import { skipGap, skipSpan } from '../src/player/idle';
import { parse } from '../src/player/tdp';
import { visible } from '../src/text';

test('a gap is cut to half a second, and a short one is left alone', () => {
  assert.equal(skipGap(1200, 1000, 9000), 1200, 'the first half second is shown');
  assert.equal(skipGap(1600, 1000, 9000), 9000);
  assert.equal(skipGap(1300, 1000, 1500), 1300);
  assert.equal(skipGap(9100, 1000, 9000), 9100, 'past it already');
});

test('idle stretches of an index are cut alike', () => {
  const spans = [{ from_ms: 1000, to_ms: 5000 }, { from_ms: 8000, to_ms: 20_000 }];
  assert.equal(skipSpan(1400, spans), 1400);
  assert.equal(skipSpan(1600, spans), 5000);
  assert.equal(skipSpan(6000, spans), 6000);
  assert.equal(skipSpan(9000, spans), 20_000);
  assert.equal(skipSpan(30_000, spans), 30_000);
});

test('messages that are cut off, or say absurd things, are said and not drawn', () => {
  const of = (...b: number[]) => parse(Uint8Array.from(b));
  assert.equal(of(1, 0, 0).type, 'notice');
  assert.equal(of().type, 'notice');
  assert.equal(of(1, 255, 255, 255, 255, 0, 0, 0, 1).type, 'notice');
  assert.equal(of(27, 0, 0, 1, 0, ...new Array(16).fill(0), 1, 2).type, 'notice', 'says 256 bytes of PNG, has 2');
  assert.equal(of(29, 0, 0, 0, 0).type, 'notice');
  assert.equal(of(200, 1).type, 'other');
});

test('messages are read as the protocol lays them out', () => {
  const of = (...b: number[]) => parse(Uint8Array.from(b));
  assert.deepEqual(of(1, 0, 0, 4, 0, 0, 0, 3, 0), { type: 'size', width: 1024, height: 768 });
  assert.deepEqual(of(31, 0, 1, 0, 2, 4, 0, 3, 0), { type: 'size', width: 1024, height: 768 });
  assert.deepEqual(of(3, 0, 0, 0, 7, 0, 0, 0, 9), { type: 'move', x: 7, y: 9 });
  const rect = [0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 8];
  const picture = { type: 'image', left: 1, top: 2, width: 4, height: 6, png: Uint8Array.of(9, 9) };
  assert.deepEqual(of(2, ...rect, 9, 9), picture);
  assert.deepEqual(of(27, 0, 0, 0, 2, ...rect, 9, 9), picture);
});

test('recorded text is shown, never obeyed', () => {
  assert.equal(visible('a\u001b[31mb\u0007'), 'a␛[31mb␇');
  assert.equal(visible('x\u202egpj.exe'), 'x⟨U+202E⟩gpj.exe');
  assert.equal(visible('<img src=x onerror=alert(1)>'), '<img src=x onerror=alert(1)>', 'markup is text where it is set as text');
  assert.equal(visible(undefined), '');
});

test('events are said in a line', () => {
  assert.equal(describeEvent({ event: 'session.command', path: '/bin/ls', argv: ['-l', '\u001b]0;x'] }), '/bin/ls -l ␛]0;x');
  assert.equal(describeEvent({ event: 'resize', size: '80:24' }), '80:24');
  assert.equal(category('desktop.clipboard.send'), 'clipboard');
  assert.equal(category('what.is.this'), 'other');
});

test('times read as people write them', () => {
  assert.equal(clock(187_400), '3:07');
  assert.equal(clock(187_450, true), '3:07.4');
  assert.equal(clock(3_723_000), '1:02:03');
  assert.equal(spoken(65_000), '1 minute 5 seconds');
  assert.equal(seconds(12_345.4), '12.345');
});
