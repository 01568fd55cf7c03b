// All sessions: searched, filtered, and kept current while one looks.

import * as api from '../api';
import { h, setText } from '../dom';
import { count } from '../format';
import type { Session } from '../types';
import { Filters } from './filters';
import { SessionRow } from './row';

const pageSize = 100;
/** Changes that may bring new rows are looked up at most this often. */
const refreshMS = 700;

export function listPage(): { element: HTMLElement; dispose(): void } {
  document.title = 'Sessions · Tapedeck';
  const page = new ListPage();
  return page;
}

class ListPage {
  readonly element: HTMLElement;
  private readonly filters = new Filters(() => void this.reload());
  private readonly body = h('tbody', {});
  private readonly status = h('p', { class: 'list-status', role: 'status' });
  private readonly connection = h('span', { class: 'connection', title: 'The list is kept current' });
  private readonly more: HTMLButtonElement;
  private readonly rows = new Map<string, SessionRow>();
  private readonly stopChanges: () => void;
  private abort = new AbortController();
  private next = '';
  private refreshTimer: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    this.more = h('button', { type: 'button', class: 'more', hidden: true, onclick: () => void this.loadMore() }, 'Load more');
    const head = h('tr', {}, ...['State', 'User', 'Host', 'Kind', 'Started', 'Duration', 'Size'].map((name) => h('th', { scope: 'col' }, name)));
    this.element = h(
      'main',
      { class: 'list', id: 'main' },
      h('div', { class: 'list-head' }, h('h1', {}, 'Sessions'), this.connection, this.status),
      this.filters.element,
      h('table', { class: 'sessions' }, h('caption', { class: 'visually-hidden' }, 'Sessions, newest first'), h('thead', {}, head), this.body),
      this.more,
    );
    this.stopChanges = api.changes(
      (s) => this.changed(s),
      (connected) => this.connected(connected),
    );
    void this.reload();
  }

  dispose(): void {
    this.stopChanges();
    this.abort.abort();
    clearTimeout(this.refreshTimer);
    this.filters.dispose();
  }

  private async reload(): Promise<void> {
    this.abort.abort();
    this.abort = new AbortController();
    const { signal } = this.abort;
    this.element.setAttribute('aria-busy', 'true');
    await this.attempt(signal, async () => {
      const page = await api.sessions({ ...this.filters.values(), limit: pageSize }, signal);
      this.rows.clear();
      this.body.replaceChildren();
      (page.sessions ?? []).forEach((s) => this.append(s));
      this.next = page.next;
    });
    if (!signal.aborted) this.element.removeAttribute('aria-busy');
  }

  private async loadMore(): Promise<void> {
    const { signal } = this.abort;
    await this.attempt(signal, async () => {
      const page = await api.sessions({ ...this.filters.values(), limit: pageSize, after: this.next }, signal);
      (page.sessions ?? []).forEach((s) => this.append(s));
      this.next = page.next;
    });
  }

  // New sessions go on top; the server says which of them the filters let through.
  private async refresh(): Promise<void> {
    const { signal } = this.abort;
    await this.attempt(signal, async () => {
      const page = await api.sessions({ ...this.filters.values(), limit: pageSize }, signal);
      const first = this.body.firstElementChild;
      for (const s of page.sessions ?? []) {
        const known = this.rows.get(s.session);
        if (known !== undefined) known.update(s);
        else this.body.insertBefore(this.row(s), first);
      }
    });
  }

  private async attempt(signal: AbortSignal, load: () => Promise<void>): Promise<void> {
    try {
      await load();
      this.report();
    } catch (err) {
      if (!signal.aborted) setText(this.status, err instanceof Error ? err.message : String(err));
    }
  }

  private report(): void {
    this.more.hidden = this.next === '';
    const n = this.rows.size;
    if (n === 0) setText(this.status, this.filters.active() ? 'No session matches.' : 'No sessions yet.');
    else setText(this.status, this.next === '' ? `${count(n)} session${n === 1 ? '' : 's'}` : `the newest ${count(n)}`);
  }

  // What changed before it was connected was not said.
  private connected(on: boolean): void {
    this.connection.classList.toggle('on', on);
    if (on) void this.refresh();
  }

  private changed(s: Session): void {
    const known = this.rows.get(s.session);
    if (known !== undefined) known.update(s);
    else this.refreshTimer ??= setTimeout(() => {
      this.refreshTimer = undefined;
      void this.refresh();
    }, refreshMS);
  }

  private append(s: Session): void {
    const known = this.rows.get(s.session);
    if (known !== undefined) known.update(s);
    else this.body.append(this.row(s));
  }

  private row(s: Session): HTMLElement {
    const row = new SessionRow(s);
    this.rows.set(s.session, row);
    return row.element;
  }
}
