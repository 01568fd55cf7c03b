// What is wrong with a recording: said above the screen where it happens.

import { h, setText } from '../dom';
import { visible } from '../text';
import type { Problem, TimedProblem } from '../types';

const showFor = 8000;

/** Problems that last from where they begin to the end. */
const lasting = new Set(['abandoned', 'truncated', 'lost', 'corrupt']);

export class Notices {
  readonly element = h('div', { class: 'notices', role: 'status' });
  private readonly line = h('p', { class: 'notice problem', hidden: true });
  private readonly failure = h('p', { class: 'notice failure', hidden: true });
  private timed: readonly TimedProblem[] = [];

  constructor() {
    this.element.append(this.failure, this.line);
  }

  setProblems(problems: readonly TimedProblem[]): void {
    this.timed = problems;
  }

  /** Says what is wrong at ms, if anything is. */
  at(ms: number): void {
    const now = this.timed.findLast((p) => p.t_ms <= ms && (lasting.has(p.kind) || ms < p.t_ms + showFor));
    this.line.hidden = now === undefined;
    if (now !== undefined) setText(this.line, visible(now.text));
  }

  fail(text: string | undefined): void {
    this.failure.hidden = text === undefined;
    setText(this.failure, text ?? '');
  }
}

/** Problems of the whole recording, that have no time. */
export function summary(problems: readonly Problem[]): HTMLElement {
  const list = h('ul', { class: 'problems', 'aria-label': 'Problems of this recording' });
  for (const p of problems) list.append(h('li', {}, visible(p.text)));
  list.hidden = problems.length === 0;
  return list;
}
