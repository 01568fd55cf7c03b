// The seek bar: how busy the session was, where nothing happened, what happened
// when, and where one is. A slider to the keyboard and to screen readers.

import { h } from '../dom';
import { clock, spoken } from '../format';
import { visible } from '../text';
import type { Marker, Timeline } from '../types';
import { category, typeName } from './describe';

interface Colours {
  get(name: string): string;
}

/** Marks are found by the pointer within this many pixels. */
const reach = 5;

export class SeekBar {
  readonly element: HTMLElement;
  private readonly canvas = h('canvas', { 'aria-hidden': 'true' });
  private readonly knob = h('div', { class: 'seek-knob', 'aria-hidden': 'true' });
  private readonly tip = h('div', { class: 'seek-tip', 'aria-hidden': 'true', hidden: true });
  private timeline: Timeline | undefined;
  private position = 0;
  private duration = 1;
  private drawnAt = -1;
  private unit = 1; // pixels to a pixel of the smallest size of text
  private readonly observer = new ResizeObserver(() => this.draw());
  private readonly dark = matchMedia('(prefers-color-scheme: dark)');
  private readonly redraw = (): void => this.draw();

  constructor(private readonly onSeek: (ms: number) => void) {
    this.element = h(
      'div',
      {
        class: 'seek',
        role: 'slider',
        tabindex: '0',
        'aria-label': 'Position in the session',
        'aria-orientation': 'horizontal',
        'aria-valuemin': '0',
        onpointerdown: (e: PointerEvent) => this.press(e),
        onpointermove: (e: PointerEvent) => this.hover(e),
        onpointerleave: () => (this.tip.hidden = true),
      },
      this.canvas,
      this.knob,
      this.tip,
    );
    this.observer.observe(this.element);
    this.dark.addEventListener('change', this.redraw);
    document.addEventListener('themechange', this.redraw);
  }

  setTimeline(timeline: Timeline): void {
    this.timeline = timeline;
    this.draw();
  }

  addMarker(marker: Marker): void {
    this.timeline?.markers?.push(marker);
  }

  update(position: number, duration: number): void {
    this.position = position;
    this.duration = Math.max(1, duration);
    const share = Math.min(1, position / this.duration);
    this.element.style.setProperty('--at', String(share));
    const second = Math.floor(position / 1000);
    this.element.setAttribute('aria-valuemax', String(Math.floor(duration / 1000)));
    this.element.setAttribute('aria-valuenow', String(second));
    this.element.setAttribute('aria-valuetext', `${spoken(position)} of ${spoken(duration)}`);
    // What was played is coloured; a pixel's worth of progress is worth drawing.
    const pixel = Math.round(share * this.canvas.width);
    if (pixel !== this.drawnAt) this.draw();
  }

  dispose(): void {
    this.observer.disconnect();
    this.dark.removeEventListener('change', this.redraw);
    document.removeEventListener('themechange', this.redraw);
  }

  private timeAt(e: PointerEvent): number {
    const box = this.element.getBoundingClientRect();
    return Math.max(0, Math.min(1, (e.clientX - box.left) / box.width)) * this.duration;
  }

  private press(e: PointerEvent): void {
    if (e.button !== 0) return;
    this.element.setPointerCapture(e.pointerId);
    this.onSeek(this.near(e)?.t_ms ?? this.timeAt(e));
    const move = (m: PointerEvent): void => this.onSeek(this.timeAt(m));
    this.element.addEventListener('pointermove', move);
    const stop = (): void => this.element.removeEventListener('pointermove', move);
    this.element.addEventListener('pointerup', stop, { once: true });
    this.element.addEventListener('pointercancel', stop, { once: true });
  }

  private hover(e: PointerEvent): void {
    const box = this.element.getBoundingClientRect();
    const mark = this.near(e);
    this.tip.hidden = false;
    this.tip.textContent = mark === undefined ? clock(this.timeAt(e)) : `${clock(mark.t_ms)}  ${mark.text}`;
    const half = this.tip.offsetWidth / 2;
    const x = Math.max(half, Math.min(box.width - half, e.clientX - box.left));
    this.tip.style.setProperty('--x', `${x}px`);
  }

  // The mark under the pointer: problems first, then events.
  private near(e: PointerEvent): { t_ms: number; text: string } | undefined {
    const box = this.element.getBoundingClientRect();
    const within = (t: number): boolean => Math.abs((t / this.duration) * box.width - (e.clientX - box.left)) <= reach;
    const problem = this.timeline?.problems?.find((p) => within(p.t_ms));
    if (problem !== undefined) return { t_ms: problem.t_ms, text: visible(problem.text) };
    const marker = this.timeline?.markers?.find((m) => within(m.t_ms));
    return marker && { t_ms: marker.t_ms, text: `${typeName(marker.type)} ${visible(marker.label)}`.trim() };
  }

  private draw(): void {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (width === 0) return;
    const scale = devicePixelRatio;
    if (this.canvas.width !== Math.round(width * scale) || this.canvas.height !== Math.round(height * scale)) {
      this.canvas.width = Math.round(width * scale);
      this.canvas.height = Math.round(height * scale);
    }
    const c = this.canvas.getContext('2d') as CanvasRenderingContext2D;
    c.setTransform(scale, 0, 0, scale, 0, 0);
    c.clearRect(0, 0, width, height);
    const style = getComputedStyle(this.element);
    const colours: Colours = { get: (name) => style.getPropertyValue(`--${name}`) };
    this.unit = Number.parseFloat(getComputedStyle(document.documentElement).fontSize) / 14;
    const share = this.position / this.duration;
    this.drawnAt = Math.round(share * this.canvas.width);
    const x = (t: number): number => (t / this.duration) * width;
    this.drawIdle(c, colours, x, height);
    this.drawActivity(c, colours, x, height);
    this.drawMarkers(c, colours, x, height);
  }

  private drawIdle(c: CanvasRenderingContext2D, colours: Colours, x: (t: number) => number, height: number): void {
    c.strokeStyle = colours.get('seek-idle');
    c.lineWidth = 1;
    for (const span of this.timeline?.idle ?? []) {
      const [from, to] = [x(span.from_ms), x(span.to_ms)];
      if (to - from < 2) continue;
      c.save();
      c.beginPath();
      c.rect(from, 4 * this.unit, to - from, height - 14 * this.unit);
      c.clip();
      c.beginPath();
      for (let at = from - height; at < to; at += 6 * this.unit) {
        c.moveTo(at, height);
        c.lineTo(at + height, 0);
      }
      c.stroke();
      c.restore();
    }
  }

  private drawActivity(c: CanvasRenderingContext2D, colours: Colours, x: (t: number) => number, height: number): void {
    const u = this.unit;
    const base = height - 10 * u;
    c.fillStyle = colours.get('seek-rail');
    c.fillRect(0, base - 2 * u, x(this.duration), 2 * u);
    const bars = this.bars(x(this.duration));
    const top = Math.log1p(Math.max(1, ...bars));
    const [played, unplayed] = [colours.get('seek-played'), colours.get('seek-unplayed')];
    const at = x(this.position);
    bars.forEach((value, i) => {
      if (value === 0) return;
      const heat = Math.log1p(value) / top;
      c.globalAlpha = 0.35 + 0.65 * heat;
      c.fillStyle = i * 3 * u < at ? played : unplayed;
      const tall = Math.max(2 * u, heat * (base - 6 * u));
      c.fillRect(i * 3 * u, base - tall, 2 * u, tall);
    });
    c.globalAlpha = 1;
    c.fillStyle = played;
    c.fillRect(0, base - 2 * u, at, 2 * u);
  }

  // Activity by bars.
  private bars(width: number): number[] {
    const bars = new Array<number>(Math.max(1, Math.ceil(width / (3 * this.unit)))).fill(0);
    const bucket = this.timeline?.bucket_ms ?? 0;
    (this.timeline?.activity ?? []).forEach((n, i) => {
      const first = Math.floor(((i * bucket) / this.duration) * bars.length);
      const last = Math.max(first, Math.ceil((((i + 1) * bucket) / this.duration) * bars.length) - 1);
      for (let b = first; b <= last && b < bars.length; b++) bars[b] = Math.max(bars[b] as number, n);
    });
    return bars;
  }

  private drawMarkers(c: CanvasRenderingContext2D, colours: Colours, x: (t: number) => number, height: number): void {
    const u = this.unit;
    for (const marker of this.timeline?.markers ?? []) {
      c.fillStyle = colours.get(`mark-${category(marker.type)}`);
      c.beginPath();
      c.arc(Math.max(3 * u, Math.min(x(this.duration) - 3 * u, x(marker.t_ms))), height - 4 * u, 2.5 * u, 0, 2 * Math.PI);
      c.fill();
    }
    for (const problem of this.timeline?.problems ?? []) this.drawProblem(c, colours, x(problem.t_ms), height);
  }

  private drawProblem(c: CanvasRenderingContext2D, colours: Colours, at: number, height: number): void {
    const u = this.unit;
    const x = Math.max(5 * u, Math.min(this.element.clientWidth - 5 * u, at));
    c.fillStyle = colours.get('mark-problem');
    c.fillRect(x - u, 2 * u, 2 * u, height - 10 * u);
    c.beginPath();
    c.moveTo(x - 5 * u, 0);
    c.lineTo(x + 5 * u, 0);
    c.lineTo(x, 7 * u);
    c.fill();
  }
}
