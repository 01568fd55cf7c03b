// What an event says, in a line, and what sort of thing it is.

import { shortened, visible } from '../text';

export type Category = 'people' | 'command' | 'file' | 'clipboard' | 'resize' | 'network' | 'end' | 'problem' | 'other';

const categories: [RegExp, Category][] = [
  [/^session\.(join|leave|start)$|^(windows|linux)\.desktop\.session\.start$/, 'people'],
  [/^session\.(end|rejected)$|^client\.disconnect$|^(windows|linux)\.desktop\.session\.end$/, 'end'],
  [/^(session\.command|exec|subsystem|db\..*query.*)$/, 'command'],
  [/^(scp|sftp.*|session\.disk|desktop\.directory\..*)$/, 'file'],
  [/^desktop\.clipboard\./, 'clipboard'],
  [/^resize$/, 'resize'],
  [/^(session\.network|port.*|x11-forward|session\.data)$/, 'network'],
];

export function category(type: string): Category {
  return categories.find(([pattern]) => pattern.test(type))?.[1] ?? 'other';
}

const names: Record<string, string> = {
  'session.start': 'Started',
  'session.end': 'Ended',
  'session.join': 'Joined',
  'session.leave': 'Left',
  'session.rejected': 'Rejected',
  'session.command': 'Command',
  'session.disk': 'File',
  'session.network': 'Network',
  'session.data': 'Traffic',
  'session.upload': 'Uploaded',
  'session.recording.access': 'Watched',
  'client.disconnect': 'Disconnected',
  'windows.desktop.session.start': 'Started',
  'windows.desktop.session.end': 'Ended',
  'linux.desktop.session.start': 'Started',
  'linux.desktop.session.end': 'Ended',
  'desktop.clipboard.send': 'Clipboard sent',
  'desktop.clipboard.receive': 'Clipboard received',
  'x11-forward': 'X11 forward',
  resize: 'Resize',
  exec: 'Exec',
  scp: 'SCP',
  sftp: 'SFTP',
  port: 'Port forward',
  subsystem: 'Subsystem',
};

export function typeName(type: string): string {
  return names[type] ?? visible(type);
}

type Fields = Record<string, unknown>;

const words = (...values: unknown[]): string => values.filter((v) => v !== undefined && v !== '' && v !== null).join(' ');
const who = (e: Fields): string => words(e['user'], e['login'] === undefined || e['login'] === e['user'] ? '' : `as ${String(e['login'])}`);

const details: Record<string, (e: Fields) => string> = {
  'session.start': (e) => words(who(e), e['server_hostname'] === undefined ? '' : `on ${String(e['server_hostname'])}`, e['size']),
  'session.end': (e) => (Array.isArray(e['participants']) ? e['participants'].join(', ') : ''),
  'session.join': who,
  'session.leave': who,
  'session.rejected': (e) => words(who(e), e['reason']),
  'session.command': (e) => words(e['path'], ...(Array.isArray(e['argv']) ? e['argv'] : []), e['return_code'] ? `→ ${String(e['return_code'])}` : ''),
  'session.disk': (e) => words(e['path'], e['program'] === undefined ? '' : `by ${String(e['program'])}`),
  'session.network': (e) => words(e['program'], e['dst_addr'] === undefined ? '' : `→ ${String(e['dst_addr'])}:${String(e['dst_port'] ?? '')}`),
  'session.data': (e) => `${String(e['tx'] ?? 0)} bytes out, ${String(e['rx'] ?? 0)} in`,
  'client.disconnect': (e) => words(e['user'], e['reason']),
  exec: (e) => words(e['command'], e['exitCode'] === undefined ? '' : `→ ${String(e['exitCode'])}`),
  scp: (e) => words(e['action'], e['path']),
  sftp: (e) => words(e['action'], e['path']),
  subsystem: (e) => words(e['name']),
  port: (e) => words(e['addr']),
  resize: (e) => words(e['size']),
  'desktop.clipboard.send': (e) => `${String(e['length'] ?? 0)} bytes`,
  'desktop.clipboard.receive': (e) => `${String(e['length'] ?? 0)} bytes`,
};

export function describe(event: Fields): string {
  const type = String(event['event'] ?? '');
  const text = details[type]?.(event) ?? words(event['user'], event['path'] ?? event['command'] ?? event['reason'] ?? event['name']);
  return shortened(visible(text), 400);
}
