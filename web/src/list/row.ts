// A session's line in the list.

import { badge } from '../badges';
import { h } from '../dom';
import { bytes, clock, date } from '../format';
import { visible } from '../text';
import type { Session } from '../types';

export class SessionRow {
  readonly element = h('tr', {});
  private shown = '';
  private clockTimer: ReturnType<typeof setInterval> | undefined;

  constructor(s: Session) {
    this.update(s);
  }

  update(s: Session): void {
    const key = JSON.stringify(s);
    if (key === this.shown) return;
    this.shown = key;
    this.element.dataset['session'] = s.session;
    this.element.dataset['state'] = s.state;
    const name = visible(s.user) || 'unknown';
    const as = s.login !== undefined && s.login !== '' && s.login !== s.user ? ` as ${visible(s.login)}` : '';
    const link = h('a', { href: `/s/${encodeURIComponent(s.session)}`, title: s.session }, h('bdi', {}, name));
    const problems = (s.problems ?? []).map((p) => visible(p.text)).join('; ');
    this.element.replaceChildren(
      cell('State', 'state', badge(s), problems !== '' && h('span', { class: 'warn', title: problems, role: 'img', 'aria-label': problems }, '!')),
      cell('User', 'user', link, as !== '' && h('bdi', { class: 'as' }, as)),
      cell('Host', 'host', h('bdi', {}, visible(s.host))),
      cell('Kind', 'kind', visible(s.kind)),
      cell('Started', 'started', date(s.started)),
      this.duration(s),
      cell('Size', 'size', bytes(s.bytes || undefined)),
    );
  }

  // A running session's duration runs.
  private duration(s: Session): HTMLElement {
    clearInterval(this.clockTimer);
    const started = Date.parse(s.started ?? '');
    if (s.state !== 'live' || Number.isNaN(started)) return cell('Duration', 'duration', s.duration_ms === undefined ? '' : clock(s.duration_ms));
    const td = cell('Duration', 'duration', clock(Date.now() - started));
    const text = td.lastChild as Text;
    this.clockTimer = setInterval(() => {
      if (td.isConnected) text.data = clock(Date.now() - started);
      else clearInterval(this.clockTimer);
    }, 1000);
    return td;
  }
}

function cell(name: string, kind: string, ...children: (Node | string | false)[]): HTMLTableCellElement {
  return h('td', { class: `col-${kind}`, 'data-label': name }, ...children);
}
