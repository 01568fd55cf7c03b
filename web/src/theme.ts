// Light or dark: as the system has it, until someone chooses.

type Theme = 'light' | 'dark';
const key = 'tapedeck-theme';

function current(): Theme {
  const chosen = document.documentElement.dataset['theme'];
  if (chosen === 'light' || chosen === 'dark') return chosen;
  return matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
}

export function restoreTheme(): void {
  const saved = localStorage.getItem(key);
  if (saved === 'light' || saved === 'dark') document.documentElement.dataset['theme'] = saved;
}

export function toggleTheme(): void {
  const theme: Theme = current() === 'dark' ? 'light' : 'dark';
  document.documentElement.dataset['theme'] = theme;
  localStorage.setItem(key, theme);
  document.dispatchEvent(new Event('themechange'));
}
