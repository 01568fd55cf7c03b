// Search and filters of the list. They are in the address, so that a filtered list
// can be linked to, and gone back to.

import { h, icon } from '../dom';

const typingMS = 250;

type Values = Record<string, string>;

export class Filters {
  readonly element: HTMLFormElement;
  private readonly clear: HTMLButtonElement;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly onChange: () => void) {
    this.clear = h('button', { type: 'reset', class: 'quiet', hidden: true }, 'Clear');
    this.element = h(
      'form',
      { class: 'filters', role: 'search', 'aria-label': 'Sessions' },
      h(
        'label',
        { class: 'search' },
        icon('search'),
        h('span', { class: 'visually-hidden' }, 'Search'),
        h('input', { type: 'search', name: 'q', placeholder: 'Search users, hosts, commands in the metadata…', autocomplete: 'off', spellcheck: 'false' }),
      ),
      select('state', 'State', [['', 'Any state'], ['live', 'Live'], ['ending', 'Ending'], ['finished', 'Finished'], ['lost', 'Lost']]),
      select('kind', 'Kind', [['', 'Any kind'], ['terminal', 'Terminal'], ['desktop', 'Desktop'], ['exec', 'Exec']]),
      field('user', 'User', 'text'),
      field('host', 'Host', 'text'),
      field('from', 'From', 'date'),
      field('to', 'To', 'date'),
      this.clear,
    );
    this.restore();
    this.element.addEventListener('submit', (e) => e.preventDefault());
    this.element.addEventListener('input', (e) => this.later((e.target as HTMLElement).matches('[type=search], [type=text]') ? typingMS : 0));
    this.element.addEventListener('reset', () => this.later(0));
  }

  /** What the API is asked for. Days are the viewer's own, from midnight to midnight. */
  values(): Values {
    const values = this.raw();
    if (values['from'] !== undefined) values['from'] = midnight(values['from'], 0);
    if (values['to'] !== undefined) values['to'] = midnight(values['to'], 1);
    return values;
  }

  active(): boolean {
    return Object.keys(this.raw()).length > 0;
  }

  dispose(): void {
    clearTimeout(this.timer);
  }

  private raw(): Values {
    const values: Values = {};
    for (const [name, value] of new FormData(this.element)) {
      if (typeof value === 'string' && value.trim() !== '') values[name] = value.trim();
    }
    return values;
  }

  private later(ms: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const q = new URLSearchParams(this.raw()).toString();
      history.replaceState(null, '', q === '' ? '/' : `/?${q}`);
      this.clear.hidden = !this.active();
      this.onChange();
    }, ms);
  }

  private restore(): void {
    for (const [name, value] of new URLSearchParams(location.search)) {
      const input = this.element.elements.namedItem(name);
      if (input instanceof HTMLInputElement || input instanceof HTMLSelectElement) input.value = value;
    }
    this.clear.hidden = !this.active();
  }
}

function midnight(day: string, daysLater: number): string {
  const d = new Date(`${day}T00:00:00`);
  d.setDate(d.getDate() + daysLater);
  return d.toISOString();
}

function select(name: string, label: string, options: [string, string][]): HTMLElement {
  return h('select', { name, 'aria-label': label }, ...options.map(([value, text]) => h('option', { value }, text)));
}

function field(name: string, label: string, type: string): HTMLElement {
  return h('label', { class: `field ${type}` }, h('span', {}, label), h('input', { type, name, autocomplete: 'off', spellcheck: 'false' }));
}
