// Tabs, as the ARIA practices describe them.

import { h } from '../dom';

export function tabs(name: string, panels: [string, HTMLElement][]): HTMLElement {
  const buttons: HTMLButtonElement[] = [];
  const bodies: HTMLElement[] = [];
  const select = (at: number, focus: boolean): void => {
    buttons.forEach((button, i) => {
      button.setAttribute('aria-selected', String(i === at));
      button.tabIndex = i === at ? 0 : -1;
      (bodies[i] as HTMLElement).hidden = i !== at;
    });
    if (focus) buttons[at]?.focus();
  };
  panels.forEach(([label, panel], i) => {
    const id = `tab-${label.toLowerCase()}`;
    const button = h('button', { type: 'button', role: 'tab', id, 'aria-controls': `${id}-panel`, onclick: () => select(i, false) }, label);
    button.addEventListener('keydown', (e) => {
      const by = e.key === 'ArrowRight' ? 1 : e.key === 'ArrowLeft' ? -1 : 0;
      if (by !== 0) select((i + by + panels.length) % panels.length, true);
    });
    buttons.push(button);
    bodies.push(h('div', { role: 'tabpanel', id: `${id}-panel`, 'aria-labelledby': id, class: 'tab-panel' }, panel));
  });
  select(0, false);
  return h('div', { class: 'tabs' }, h('div', { role: 'tablist', 'aria-label': name }, ...buttons), ...bodies);
}
