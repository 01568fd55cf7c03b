// Text that comes from recordings, made harmless to look at: control characters
// and those that turn the direction of writing are shown, not obeyed.

/** The text with nothing in it that acts. */
export function visible(value: unknown): string {
  const text = typeof value === 'string' ? value : value === undefined || value === null ? '' : String(value);
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g, shown);
}

function shown(c: string): string {
  const code = c.charCodeAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  if (code === 0x7f) return '␡';
  return `⟨U+${code.toString(16).toUpperCase().padStart(4, '0')}⟩`;
}

/** At most n characters of it. */
export function shortened(text: string, n: number): string {
  const all = [...text];
  return all.length <= n ? text : `${all.slice(0, n - 1).join('')}…`;
}
