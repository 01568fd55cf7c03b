// The shell around the pages: the bar at the top, and which page the address names.

import * as api from './api';
import { h, icon } from './dom';
import { listPage } from './list/page';
import { loginPage } from './login';
import { openPlayer } from './player/page';
import { restoreTheme, toggleTheme } from './theme';
import type { Viewer } from './types';

interface Page {
  element: HTMLElement;
  /** Called when the element is in the document. */
  shown?(): void | Promise<void>;
  dispose(): void;
}

const viewer = h('span', { class: 'viewer' });
const leave = h('button', { type: 'button', class: 'quiet', hidden: true, onclick: () => void signOut() }, 'Sign out');
const content = h('div', { class: 'content' });
let page: Page | undefined;
let navigation = 0;

function shell(): void {
  document.body.replaceChildren(
    h('a', { class: 'skip-link', href: '#main' }, 'Skip to content'),
    h(
      'header',
      { class: 'bar' },
      h('a', { href: '/', class: 'brand' }, h('span', { class: 'brand-mark', 'aria-hidden': 'true' }), 'Tapedeck'),
      h('nav', { 'aria-label': 'Pages' }, h('a', { href: '/' }, 'Sessions')),
      h('span', { class: 'space' }),
      viewer,
      leave,
      h('button', { type: 'button', class: 'icon-button', 'aria-label': 'Light or dark', title: 'Light or dark', onclick: toggleTheme }, icon('theme')),
    ),
    content,
  );
}

async function show(make: () => Page | Promise<Page>): Promise<void> {
  const mine = ++navigation;
  page?.dispose();
  page = undefined;
  let next: Page;
  try {
    next = await make();
  } catch (err) {
    if (mine !== navigation) return;
    next = problemPage(err);
  }
  if (mine !== navigation) {
    next.dispose();
    return;
  }
  page = next;
  content.replaceChildren(next.element);
  void next.shown?.();
}

function problemPage(err: unknown): Page {
  const missing = err instanceof api.APIError && err.status === 404;
  const text = err instanceof Error ? err.message : String(err);
  document.title = 'Tapedeck';
  const element = h(
    'main',
    { class: 'problem-page', id: 'main' },
    h('h1', {}, missing ? 'No such session' : 'This cannot be shown'),
    h('p', {}, text),
    h('p', {}, h('a', { href: '/' }, 'All sessions')),
  );
  return { element, dispose: () => {} };
}

function route(): void {
  const { pathname, searchParams } = new URL(location.href);
  const player = /^\/s\/([^/]+)\/?$/.exec(pathname);
  if (player !== null) {
    const t = Number.parseFloat(searchParams.get('t') ?? '');
    void show(() => openPlayer(decodeURIComponent(player[1] as string), Number.isFinite(t) ? t * 1000 : undefined));
  } else void show(listPage);
}

function go(address: string): void {
  history.pushState(null, '', address);
  route();
  scrollTo(0, 0);
}

function askWho(): void {
  viewer.textContent = '';
  leave.hidden = true;
  void show(() => loginPage(() => void enter()));
}

async function enter(): Promise<void> {
  try {
    greet(await api.me());
  } catch (err) {
    if (!(err instanceof api.APIError && err.status === 401)) await show(() => problemPage(err));
    return;
  }
  route();
}

function greet(who: Viewer): void {
  viewer.textContent = who.role === 'admin' ? who.name : `${who.name} (${who.role})`;
  leave.hidden = false;
}

async function signOut(): Promise<void> {
  await api.logout().catch(() => {});
  askWho();
}

// Links within the page change the page, and nothing is loaded anew.
document.addEventListener('click', (e) => {
  if (e.defaultPrevented || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
  const link = (e.target as Element).closest?.('a');
  if (!link || link.target !== '' || link.hasAttribute('download') || link.origin !== location.origin) return;
  if (!/^\/(s\/.*)?$/.test(link.pathname) || (link.hash !== '' && link.pathname === location.pathname)) return;
  e.preventDefault();
  go(link.pathname + link.search);
});
addEventListener('popstate', route);

api.onUnauthorized.run = askWho;
restoreTheme();
shell();
void enter();
