// The recorded pointer, and its clicks, on a canvas above the screen.

import { h } from '../dom';

const arrow = [0, 0, 0, 17, 4, 13.5, 7, 20, 10, 18.7, 7, 12.3, 12, 12];

export class Pointer {
  readonly element = h('canvas', { class: 'desktop-pointer', 'aria-hidden': 'true' });
  private readonly context = this.element.getContext('2d') as CanvasRenderingContext2D;
  private at: { x: number; y: number } | undefined;
  private down = false;
  private shown: { x: number; y: number } | undefined;

  resize(width: number, height: number): void {
    this.element.width = width;
    this.element.height = height;
    this.shown = undefined;
    this.draw();
  }

  move(x: number, y: number): void {
    this.at = { x, y };
    this.draw();
  }

  press(down: boolean): void {
    this.down = down;
    this.draw();
  }

  hide(): void {
    this.at = undefined;
    this.down = false;
    this.draw();
  }

  private draw(): void {
    const c = this.context;
    if (this.shown !== undefined) c.clearRect(this.shown.x - 24, this.shown.y - 24, 64, 64);
    this.shown = this.at;
    if (this.at === undefined) return;
    const { x, y } = this.at;
    if (this.down) {
      c.beginPath();
      c.arc(x, y, 16, 0, 2 * Math.PI);
      c.fillStyle = 'rgba(13, 148, 136, 0.45)';
      c.fill();
    }
    c.beginPath();
    for (let i = 0; i < arrow.length; i += 2) c.lineTo(x + (arrow[i] as number), y + (arrow[i + 1] as number));
    c.closePath();
    c.fillStyle = '#fff';
    c.fill();
    c.lineWidth = 1.5;
    c.strokeStyle = '#000';
    c.stroke();
  }
}
