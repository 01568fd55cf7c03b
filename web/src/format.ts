// Numbers and times as people read them.

/** 3:07, 1:02:03; with tenths 3:07.4. */
export function clock(ms: number, tenths = false): string {
  const t = Math.max(0, tenths ? Math.floor(ms / 100) : Math.floor(ms / 1000) * 10);
  const s = Math.floor(t / 10) % 60;
  const m = Math.floor(t / 600) % 60;
  const hours = Math.floor(t / 36000);
  const two = (n: number): string => String(n).padStart(2, '0');
  const text = hours > 0 ? `${hours}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
  return tenths ? `${text}.${t % 10}` : text;
}

/** For a screen reader: "1 minute 5 seconds". */
export function spoken(ms: number): string {
  const s = Math.floor(ms / 1000);
  const parts: string[] = [];
  const say = (n: number, unit: string): void => {
    if (n > 0) parts.push(`${n} ${unit}${n === 1 ? '' : 's'}`);
  };
  say(Math.floor(s / 3600), 'hour');
  say(Math.floor(s / 60) % 60, 'minute');
  say(s % 60, 'second');
  return parts.length === 0 ? '0 seconds' : parts.join(' ');
}

export function bytes(n: number | undefined): string {
  if (n === undefined) return '';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let u = 0;
  let v = n;
  while (v >= 1024 && u < units.length - 1) {
    v /= 1024;
    u++;
  }
  return `${u === 0 || v >= 100 ? Math.round(v) : v.toFixed(1)} ${units[u]}`;
}

export function count(n: number | undefined): string {
  return n === undefined ? '' : n.toLocaleString('en');
}

const two = (n: number): string => String(n).padStart(2, '0');

/** 2026-11-25 14:03:59 in the viewer's own time zone. */
export function date(text: string | undefined): string {
  if (text === undefined || text === '') return '';
  const d = new Date(text);
  if (Number.isNaN(d.getTime()) || d.getFullYear() < 1970) return '';
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

/** "t" of a permalink: seconds, with milliseconds where there are any. */
export function seconds(ms: number): string {
  return String(Math.round(ms) / 1000);
}
