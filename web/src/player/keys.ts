// The keyboard, as asciinema-player has it, for both kinds of recording.

export interface KeyCommands {
  toggle(): void;
  seekBy(ms: number): void;
  seekShare(share: number): void;
  seekByShare(share: number): void;
  marker(direction: 1 | -1): void;
  step(direction: 1 | -1): void;
  faster(direction: 1 | -1): void;
  toggleSkipIdle(): void;
  catchUp(): void;
  fullScreen(): void;
  help(): void;
}

/** What the help shows, in its order. */
export const shortcuts: readonly [keys: string, what: string][] = [
  ['Space', 'Play or pause'],
  ['← →', 'Back or on by 5 seconds'],
  ['Shift ← →', 'Back or on by a tenth'],
  ['[ ]', 'Previous or next marker'],
  ['0 … 9', 'Go to 0 % … 90 %'],
  [', .', 'Step back or on by one change'],
  ['< >', 'Slower or faster'],
  ['i', 'Skip idle time, or not'],
  ['l', 'Catch up with a live session'],
  ['f', 'Full screen'],
  ['?', 'This help'],
];

const plain: Record<string, (c: KeyCommands) => void> = {
  ' ': (c) => c.toggle(),
  '[': (c) => c.marker(-1),
  ']': (c) => c.marker(1),
  ',': (c) => c.step(-1),
  '.': (c) => c.step(1),
  '<': (c) => c.faster(-1),
  '>': (c) => c.faster(1),
  i: (c) => c.toggleSkipIdle(),
  l: (c) => c.catchUp(),
  f: (c) => c.fullScreen(),
  '?': (c) => c.help(),
};

/** Listens until the returned function is called. */
export function listen(commands: KeyCommands): () => void {
  const onKey = (e: KeyboardEvent): void => {
    if (e.altKey || e.ctrlKey || e.metaKey || e.defaultPrevented || belongsToControl(e)) return;
    const run = commandFor(e);
    if (run === undefined) return;
    run(commands);
    // asciinema-player listens too; it is not to do the same again.
    e.stopPropagation();
    e.preventDefault();
  };
  document.addEventListener('keydown', onKey, true);
  return () => document.removeEventListener('keydown', onKey, true);
}

function commandFor(e: KeyboardEvent): ((c: KeyCommands) => void) | undefined {
  if (e.key === 'ArrowLeft' || e.key === 'ArrowRight') {
    const sign = e.key === 'ArrowLeft' ? -1 : 1;
    return e.shiftKey ? (c) => c.seekByShare(sign * 0.1) : (c) => c.seekBy(sign * 5000);
  }
  if (/^[0-9]$/.test(e.key)) return (c) => c.seekShare(Number(e.key) / 10);
  return plain[e.key];
}

// Typing into a field is typing; a button or a link has Space and Enter for itself,
// a list of tabs the arrows.
function belongsToControl(e: KeyboardEvent): boolean {
  const el = e.target;
  if (!(el instanceof HTMLElement) || document.querySelector('dialog[open]') !== null) return true;
  if (el.matches('input, textarea, [contenteditable]')) return true;
  if (el.matches('select')) return !/^[[\]<>?fil]$/.test(e.key);
  if (el.matches('[role=tab]')) return e.key.startsWith('Arrow') || e.key === ' ';
  return el.matches('button, a, summary') && (e.key === ' ' || e.key === 'Enter');
}
