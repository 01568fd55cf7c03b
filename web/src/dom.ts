// Elements without markup: what comes from a recording is always set as text.

type Child = Node | string | null | undefined | false;
type Value = string | number | boolean | null | undefined | EventListener | ((e: never) => void);

/** Makes an element. Names that start with "on" are listeners; true sets an empty attribute, false and null none. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, Value> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const el = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === 'function') el.addEventListener(name.slice(2), value as EventListener);
    else el.setAttribute(name, value === true ? '' : String(value));
  }
  add(el, ...children);
  return el;
}

export function add(el: Element, ...children: Child[]): void {
  for (const child of children) {
    if (child !== null && child !== undefined && child !== false) el.append(child);
  }
}

/** Sets the text only where it differs, so that a ticking clock does not cost a layout. */
export function setText(el: Element, text: string): void {
  if (el.textContent !== text) el.textContent = text;
}

/** The icons are paths in a 24 by 24 box. */
const paths: Record<string, string> = {
  play: 'M8 5v14l11-7z',
  pause: 'M7 5h4v14H7zM13 5h4v14h-4z',
  back: 'M15.5 5 8.5 12l7 7-1.5 1.5L5.5 12 14 3.5z',
  full: 'M4 9V4h5v2H6v3zm11-5h5v5h-2V6h-3zM4 15h2v3h3v2H4zm14 0h2v5h-5v-2h3z',
  link: 'M10 7H7a5 5 0 0 0 0 10h3v-2H7a3 3 0 0 1 0-6h3zM14 7h3a5 5 0 0 1 0 10h-3v-2h3a3 3 0 0 0 0-6h-3zM8 11h8v2H8z',
  skip: 'M4 6l7 6-7 6zM13 6l7 6-7 6z',
  help: 'M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zm0 2a7 7 0 1 1 0 14 7 7 0 0 1 0-14zm-.9 10.2h1.9V17h-1.9zM12 7.2c-1.8 0-3.1 1.1-3.2 2.8h1.8c.1-.8.6-1.2 1.4-1.2s1.3.4 1.3 1.1c0 .6-.3.9-1 1.4-.9.6-1.2 1.1-1.2 2.2v.5h1.8v-.4c0-.6.2-.9 1-1.4.8-.6 1.3-1.3 1.3-2.3 0-1.6-1.3-2.7-3.2-2.7z',
  theme: 'M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zm0 2v14a7 7 0 0 1 0-14z',
  download: 'M11 4h2v8.2l2.6-2.6L17 11l-5 5-5-5 1.4-1.4 2.6 2.6zM5 18h14v2H5z',
  search: 'M10.5 4a6.5 6.5 0 1 0 4 11.6l4.7 4.7 1.4-1.4-4.7-4.7A6.5 6.5 0 0 0 10.5 4zm0 2a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9z',
};

export function icon(name: string): SVGSVGElement {
  const ns = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(ns, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  svg.setAttribute('class', 'icon');
  const path = document.createElementNS(ns, 'path');
  path.setAttribute('d', paths[name] ?? '');
  svg.append(path);
  return svg;
}
