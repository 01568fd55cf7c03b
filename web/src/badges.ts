// The state of a session in a word.

import { h } from './dom';
import { visible } from './text';
import type { Session } from './types';

export function badge(s: Session): HTMLElement {
  const [kind, text] = state(s);
  return h('span', { class: `badge ${kind}` }, text);
}

function state(s: Session): [string, string] {
  switch (s.state) {
    case 'live':
      return ['live', 'Live'];
    case 'ending':
      return ['ending', 'Ending'];
    case 'lost':
      return ['bad', 'Lost'];
    default:
  }
  if (s.outcome !== undefined && s.outcome !== '' && s.outcome !== 'complete') {
    return ['bad', visible(s.outcome).replace(/^./, (c) => c.toUpperCase())];
  }
  return (s.missing ?? 0) > 0 ? ['bad', 'Incomplete'] : ['done', 'Finished'];
}
