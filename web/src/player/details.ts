// What is known about a session, and what can be taken away from here.

import * as api from '../api';
import { h, icon, setText } from '../dom';
import { bytes, clock, count, date } from '../format';
import { visible } from '../text';
import type { SessionDetail } from '../types';

export class Details {
  readonly element = h('div', { class: 'details' });

  /** The picture is of the screen as it is shown; undefined if the kind has none. */
  constructor(private readonly picture: (() => Promise<Blob>) | undefined) {}

  show(s: SessionDetail): void {
    this.element.replaceChildren(facts(s), verification(s), this.downloads(s), metadata(s));
  }

  private downloads(s: SessionDetail): HTMLElement {
    const link = (name: string, path: string): HTMLElement =>
      h('li', {}, h('a', { href: api.sessionPath(s.session, path), download: true }, icon('download'), name));
    const terminal = s.kind !== 'desktop';
    const items = [
      s.manifest && link('Recording', '/recording'),
      s.manifest && link('Manifest', '/manifest'),
      terminal && link('asciicast v3', '/export?format=cast3'),
      terminal && link('asciicast v2', '/export?format=cast2'),
      terminal && link('Text', '/export?format=text'),
      link('Events (JSON lines)', '/export?format=json'),
      link('Film', '/export?format=mp4'),
      link('Animation (GIF)', '/export?format=gif'),
      this.picture && this.still(s.session, this.picture),
    ];
    return section('Download', h('ul', { class: 'downloads' }, ...items));
  }

  private still(sid: string, picture: () => Promise<Blob>): HTMLElement {
    const save = async (): Promise<void> => {
      const url = URL.createObjectURL(await picture());
      h('a', { href: url, download: `${sid}.png` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
    };
    return h('li', {}, h('button', { type: 'button', onclick: () => void save() }, icon('download'), 'Picture of this moment (PNG)'));
  }
}

function section(name: string, ...children: HTMLElement[]): HTMLElement {
  return h('section', { 'aria-label': name }, h('h2', {}, name), ...children);
}

function facts(s: SessionDetail): HTMLElement {
  const rows: [string, string][] = [
    ['Session', s.session],
    ['User', s.login === undefined || s.login === s.user ? visible(s.user) : `${visible(s.user)} as ${visible(s.login)}`],
    ['Host', visible(s.host)],
    ['Node', visible(s.node)],
    ['Kind', visible(s.kind)],
    ['State', s.outcome === undefined || s.outcome === '' ? s.state : `${s.state}, ${visible(s.outcome)}`],
    ['Started', date(s.started)],
    ['Ended', date(s.ended)],
    ['Duration', s.duration_ms === undefined ? '' : clock(s.duration_ms)],
    ['Screen', s.cols ? `${s.cols} × ${s.rows ?? ''}` : ''],
    ['Events', count(s.events)],
    ['Missing', s.missing ? count(s.missing) : ''],
    ['Late', s.late ? count(s.late) : ''],
    ['Size', s.bytes ? `${bytes(s.bytes)}${s.parts ? ` in ${count(s.parts)} part${s.parts === 1 ? '' : 's'}` : ''}` : ''],
  ];
  return section('Session', table(rows));
}

function verification(s: SessionDetail): HTMLElement {
  const result = h('p', { class: 'verdict', role: 'status' });
  const say = (v: { ok: boolean; text: string }): void => {
    result.dataset['ok'] = String(v.ok);
    setText(result, visible(v.text));
  };
  if (s.verify) say(s.verify);
  const button = h('button', { type: 'button', class: 'quiet' }, s.verify ? 'Verify again' : 'Verify now');
  button.addEventListener('click', () => {
    button.disabled = true;
    setText(result, 'Reading every event…');
    delete result.dataset['ok'];
    api
      .verify(s.session)
      .then(say, (err: unknown) => say({ ok: false, text: err instanceof Error ? err.message : String(err) }))
      .finally(() => (button.disabled = false));
  });
  const can = s.manifest === true;
  return section('Verification', can ? result : h('p', { class: 'hint' }, 'Possible once the recording is finished.'), ...(can ? [button] : []));
}

function metadata(s: SessionDetail): HTMLElement {
  const rows = flatten(s.metadata ?? {});
  if (rows.length === 0) return section('Metadata', h('p', { class: 'hint' }, 'None.'));
  return section('Metadata', table(rows));
}

function flatten(value: Record<string, unknown>, prefix = ''): [string, string][] {
  return Object.entries(value).flatMap(([name, v]): [string, string][] => {
    const path = prefix + visible(name);
    if (v !== null && typeof v === 'object' && !Array.isArray(v)) return flatten(v as Record<string, unknown>, `${path}.`);
    return [[path, Array.isArray(v) ? v.map((x) => (typeof x === 'object' ? JSON.stringify(x) : visible(x))).join(' ') : visible(v)]];
  });
}

function table(rows: [string, string][]): HTMLElement {
  const list = h('dl', {});
  for (const [name, value] of rows) {
    if (value !== '') list.append(h('div', {}, h('dt', {}, name), h('dd', {}, h('bdi', {}, value))));
  }
  return list;
}
