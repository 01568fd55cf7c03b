// The keyboard shortcuts, in a dialog.

import { h } from './dom';
import { shortcuts } from './player/keys';

export function helpDialog(): void {
  const rows = shortcuts.map(([keys, what]) => h('div', {}, h('dt', {}, ...keys.split(' ').map((k) => h('kbd', {}, k))), h('dd', {}, what)));
  const dialog = h(
    'dialog',
    { class: 'help', 'aria-labelledby': 'help-title' },
    h('h2', { id: 'help-title' }, 'Keyboard'),
    h('dl', {}, ...rows),
    h('form', { method: 'dialog' }, h('button', { class: 'quiet' }, 'Close')),
  );
  dialog.addEventListener('close', () => dialog.remove());
  dialog.addEventListener('click', (e) => {
    if (e.target === dialog) dialog.close();
  });
  // In full screen only what is inside of the full-screen element is shown.
  (document.fullscreenElement ?? document.body).append(dialog);
  dialog.showModal();
}
