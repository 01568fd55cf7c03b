// The events beside the player. It follows the time, and goes to an event's time
// when that is clicked. The rows are plain elements; the browser lays out those in
// view only (content-visibility), so that thousands cost little.

import * as api from '../api';
import { h, setText } from '../dom';
import { clock, count } from '../format';
import { visible } from '../text';
import type { EventLine, TimedProblem } from '../types';
import { category, describe, typeName } from './describe';

const pageSize = 1000;
/** More rows than this are loaded only when asked for. */
const firstLoad = 4000;

const number = (n: number): string => `${count(n)} event${n === 1 ? '' : 's'}`;

interface Row {
  readonly t: number;
  readonly element: HTMLLIElement;
  readonly haystack: string;
}

export class EventList {
  readonly element: HTMLElement;
  private readonly list = h('ol', { class: 'events', 'aria-label': 'Events of the session' });
  private readonly filter: HTMLInputElement;
  private readonly status = h('p', { class: 'events-status', role: 'status' });
  private readonly more: HTMLButtonElement;
  private readonly abort = new AbortController();
  private rows: Row[] = [];
  private readonly problems = new Set<string>();
  private seen = -1;
  private current: Row | undefined;
  private loading = false;
  private complete = false;

  constructor(
    private readonly sid: string,
    private readonly onSeek: (ms: number) => void,
  ) {
    this.filter = h('input', {
      type: 'search',
      placeholder: 'Filter events',
      'aria-label': 'Filter events',
      oninput: () => this.applyFilter(),
    });
    this.more = h('button', { type: 'button', class: 'more', hidden: true, onclick: () => void this.load(firstLoad) }, 'Load more');
    this.element = h('div', { class: 'events-panel' }, this.filter, this.list, this.more, this.status);
  }

  /** Loads up to n more events. */
  async load(n = firstLoad): Promise<void> {
    if (this.loading || this.complete) return;
    this.loading = true;
    setText(this.status, 'Loading events…');
    try {
      for (let got = 0; got < n && !this.complete; ) {
        const lines = await api.events(this.sid, this.seen + 1, pageSize, this.abort.signal);
        lines.forEach((line) => this.append(line));
        got += lines.length;
        this.complete = lines.length < pageSize;
      }
      setText(this.status, this.rows.length === 0 ? 'No events but output.' : `${number(this.rows.length)}${this.complete ? '' : ' loaded'}`);
    } catch (err) {
      if (!this.abort.signal.aborted) setText(this.status, err instanceof Error ? err.message : String(err));
    } finally {
      this.loading = false;
      this.more.hidden = this.complete;
    }
  }

  /** Adds an event; one that is older than what is shown is not added again. */
  append(line: EventLine): void {
    if (line.index <= this.seen) return;
    this.seen = line.index;
    const type = String(line.event['event'] ?? '');
    this.insert(line.t_ms, typeName(type), describe(line.event), category(type));
  }

  /** Adds a problem, once. */
  addProblem(problem: TimedProblem): void {
    const key = `${problem.t_ms} ${problem.kind}`;
    if (this.problems.has(key)) return;
    this.problems.add(key);
    this.insert(problem.t_ms, visible(problem.kind), visible(problem.text), 'problem');
  }

  /** Marks the newest event at or before ms, and keeps it in view. */
  follow(ms: number): void {
    const at = this.rowAt(ms);
    if (at === this.current) return;
    this.current?.element.removeAttribute('aria-current');
    this.current = at;
    if (at === undefined) return;
    at.element.setAttribute('aria-current', 'true');
    if (!this.list.matches(':hover, :focus-within')) this.reveal(at.element);
  }

  dispose(): void {
    this.abort.abort();
  }

  private reveal(row: HTMLElement): void {
    const top = row.offsetTop - this.list.offsetTop;
    const { scrollTop, clientHeight } = this.list;
    if (top < scrollTop || top + row.offsetHeight > scrollTop + clientHeight) this.list.scrollTop = top - clientHeight / 3;
  }

  private rowAt(ms: number): Row | undefined {
    let low = 0;
    let high = this.rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.rows[middle] as Row).t <= ms) low = middle + 1;
      else high = middle;
    }
    return this.rows[low - 1];
  }

  private insert(t: number, name: string, text: string, kind: string): void {
    const button = h(
      'button',
      { type: 'button', onclick: () => this.onSeek(t) },
      h('span', { class: 'event-time' }, clock(t)),
      h('span', { class: 'event-dot', 'aria-hidden': 'true' }),
      h('span', { class: 'event-name' }, name),
      h('bdi', { class: 'event-text', title: text }, text),
    );
    const element = h('li', { 'data-kind': kind }, button);
    const row: Row = { t, element, haystack: `${name} ${text}`.toLowerCase() };
    const after = this.rows.findLastIndex((r) => r.t <= t);
    const next = this.rows[after + 1];
    this.rows.splice(after + 1, 0, row);
    this.list.insertBefore(element, next?.element ?? null);
    element.hidden = !row.haystack.includes(this.filter.value.toLowerCase());
  }

  private applyFilter(): void {
    const wanted = this.filter.value.toLowerCase();
    let shown = 0;
    for (const row of this.rows) {
      row.element.hidden = !row.haystack.includes(wanted);
      if (!row.element.hidden) shown++;
    }
    setText(this.status, wanted === '' ? number(this.rows.length) : `${count(shown)} of ${number(this.rows.length)}`);
  }
}
