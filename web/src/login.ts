// Who is asking: a token, once; the server answers with a cookie.

import * as api from './api';
import { h, setText } from './dom';

export function loginPage(done: () => void): { element: HTMLElement; dispose(): void } {
  document.title = 'Sign in · Tapedeck';
  const token = h('input', { type: 'password', id: 'token', name: 'token', autocomplete: 'current-password', required: true, spellcheck: 'false' });
  const problem = h('p', { class: 'form-problem', role: 'alert' });
  const button = h('button', { class: 'primary-button' }, 'Sign in');
  const form = h(
    'form',
    { class: 'login' },
    h('h1', {}, 'Sign in'),
    h('label', { for: 'token' }, 'Access token'),
    token,
    problem,
    button,
    h('p', { class: 'hint' }, h('code', {}, 'tapedeck up'), ' prints a link that signs in; ', h('code', {}, 'tapedeck token'), ' makes more tokens.'),
  );
  form.addEventListener('submit', (e) => {
    e.preventDefault();
    button.disabled = true;
    setText(problem, '');
    api
      .login(token.value.trim())
      .then(done, (err: unknown) => {
        setText(problem, err instanceof Error ? err.message : String(err));
        token.select();
      })
      .finally(() => (button.disabled = false));
  });
  setTimeout(() => token.focus());
  return { element: h('main', { class: 'login-page', id: 'main' }, form), dispose: () => {} };
}
