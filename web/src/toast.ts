// A line that says what was done, and goes away.

import { h } from './dom';

export function toast(text: string): void {
  const line = h('p', { class: 'toast', role: 'status' }, text);
  (document.fullscreenElement ?? document.body).append(line);
  setTimeout(() => line.remove(), 2500);
}
