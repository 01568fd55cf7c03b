// Desktop sessions: their messages from the API, drawn on a canvas.
//
// A message is drawn when it is its turn and its picture is decoded; several are
// decoded at a time. A picture that a later one covers before its own decoding has
// begun is not decoded at all, which is what keeps a jump quick and high speeds
// in time. The pointer has a canvas of its own above the screen's.

import * as api from '../api';
import { h } from '../dom';
import { fromBase64, records } from '../stream';
import type { Keyframe } from '../types';
import { pictureDecoder, type Picture } from './decode';
import { Pointer } from './pointer';
import { parse, type Message } from './tdp';
import type { Item, Source, Surface } from './types';

export interface DesktopItem extends Item {
  readonly data: Uint8Array<ArrayBuffer>;
}

/** A record of the API: u32 time, u32 index, and the message. */
export function desktopItem(record: Uint8Array): DesktopItem {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  return {
    t: view.getUint32(0),
    index: view.getUint32(4),
    draws: true,
    size: record.length + 64,
    data: record.slice(8),
  };
}

export function desktopSource(sid: string): Source<DesktopItem> {
  return {
    keyframe: (ms, signal) => api.keyframe(sid, ms, signal),
    async *read(fromIndex, toMS, signal) {
      const params = { from_index: fromIndex, to_ms: toMS === undefined ? undefined : Math.ceil(toMS) };
      const response = await api.request(api.sessionPath(sid, `/desktop${api.query(params)}`), { signal });
      for await (const batch of records(response)) yield batch.map(desktopItem);
    },
  };
}

/** Pictures that are being decoded at one time. */
const decoding = 48;

interface Waiting {
  readonly t: number;
  readonly message: Message;
  picture?: Picture | null; // null: it cannot be decoded
  started: boolean;
  covered: boolean;
}

export class DesktopSurface implements Surface<DesktopItem> {
  readonly element: HTMLElement;
  private readonly canvas: HTMLCanvasElement;
  private readonly screen: CanvasRenderingContext2D;
  private readonly pointer: Pointer;
  private readonly notice = h('p', { class: 'stage-notice', role: 'status', hidden: true });
  private readonly decode = pictureDecoder();
  private queue: Waiting[] = [];
  private head = 0; // the first of the queue that is not drawn
  private toStart = 0; // the first whose decoding has not begun
  private active = 0;
  private generation = 0;
  private newest = new Map<string, Waiting>(); // by place, not yet started
  private waiters: (() => void)[] = [];

  constructor(private readonly size: { cols: number; rows: number }) {
    this.canvas = h('canvas', { class: 'desktop-screen', role: 'img', 'aria-label': 'The recorded desktop' });
    this.pointer = new Pointer();
    this.screen = this.canvas.getContext('2d', { alpha: false }) as CanvasRenderingContext2D;
    const frame = h('div', { class: 'desktop-frame' }, this.canvas, this.pointer.element);
    this.element = h('div', { class: 'desktop' }, frame, this.notice);
    this.resize(size.cols, size.rows);
  }

  async mount(): Promise<void> {}

  /** The screen as it is shown, as a PNG. */
  picture(): Promise<Blob> {
    return new Promise((resolve, reject) => {
      this.canvas.toBlob((blob) => (blob === null ? reject(new Error('The browser made no picture.')) : resolve(blob)));
    });
  }

  async reset(frame: Keyframe | null): Promise<void> {
    this.drop();
    this.notice.hidden = true;
    this.pointer.hide();
    const png = frame?.png === undefined ? undefined : await this.decode(fromBase64(frame.png));
    this.resize(frame?.cols ?? this.size.cols, frame?.rows ?? this.size.rows);
    this.screen.fillRect(0, 0, this.canvas.width, this.canvas.height);
    if (png === undefined) return;
    this.screen.drawImage(png, 0, 0);
    png.close();
  }

  apply(items: DesktopItem[]): void {
    for (const item of items) this.enqueue(item.t, parse(item.data));
    this.start();
    this.drain();
  }

  settled(): Promise<void> {
    if (this.head === this.queue.length) return Promise.resolve();
    return new Promise((resolve) => this.waiters.push(resolve));
  }

  waitingSince(): number | undefined {
    return this.queue[this.head]?.t;
  }

  setPlaying(): void {}

  dispose(): void {
    this.drop();
  }

  private enqueue(t: number, message: Message): void {
    const waiting: Waiting = { t, message, started: false, covered: false };
    if (message.type === 'image') {
      const place = `${message.left},${message.top},${message.width},${message.height}`;
      const older = this.newest.get(place);
      if (older !== undefined && !older.started) older.covered = true;
      this.newest.set(place, waiting);
    } else if (message.type === 'size') {
      this.newest.clear(); // what was drawn before a resize is not covered by what comes after
    }
    this.queue.push(waiting);
  }

  /** Begins to decode what is next, as many as may be at a time. */
  private start(): void {
    while (this.active < decoding && this.toStart < this.queue.length) {
      const waiting = this.queue[this.toStart++] as Waiting;
      waiting.started = true;
      if (waiting.message.type !== 'image' || waiting.covered) continue;
      this.active++;
      const generation = this.generation;
      this.decode(waiting.message.png)
        .catch(() => null)
        .then((picture) => {
          if (generation !== this.generation) {
            picture?.close();
            return;
          }
          this.active--;
          waiting.picture = picture;
          this.start();
          this.drain();
        });
    }
  }

  /** Draws, in order, what is ready. */
  private drain(): void {
    while (this.head < this.toStart) {
      const waiting = this.queue[this.head] as Waiting;
      const { message } = waiting;
      if (message.type === 'image' && !waiting.covered) {
        if (waiting.picture === undefined) return;
        if (waiting.picture === null) this.say('A picture is damaged and is not shown.');
        else {
          this.screen.drawImage(waiting.picture, message.left, message.top);
          waiting.picture.close();
        }
      } else this.other(message);
      this.head++;
    }
    if (this.head < this.queue.length) return;
    this.queue = [];
    this.head = this.toStart = 0;
    this.newest.clear();
    for (const done of this.waiters.splice(0)) done();
  }

  private other(message: Message): void {
    switch (message.type) {
      case 'size':
        this.resize(message.width, message.height);
        break;
      case 'move':
        this.pointer.move(message.x, message.y);
        break;
      case 'button':
        this.pointer.press(message.down);
        break;
      case 'notice':
        this.say(message.text);
    }
  }

  private resize(width: number, height: number): void {
    if (this.canvas.width === width && this.canvas.height === height) return;
    this.canvas.width = width;
    this.canvas.height = height;
    this.pointer.resize(width, height);
    this.element.style.setProperty('--screen-width', String(width));
    this.element.style.setProperty('--screen-height', String(height));
  }

  private say(text: string): void {
    this.notice.textContent = text;
    this.notice.hidden = false;
  }

  private drop(): void {
    for (const waiting of this.queue) waiting.picture?.close();
    this.queue = [];
    this.head = this.toStart = this.active = 0;
    this.generation++;
    this.newest.clear();
    for (const done of this.waiters.splice(0)) done();
  }
}
