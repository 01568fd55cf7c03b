// The controls below the screen: the same for terminals and desktops.

import { add, h, icon, setText } from '../dom';
import { clock } from '../format';

export const speeds = [0.25, 0.5, 1, 1.5, 2, 4, 8, 16];

export interface Commands {
  toggle(): void;
  setSpeed(speed: number): void;
  setSkipIdle(on: boolean): void;
  catchUp(): void;
  copyLink(): void;
  fullScreen(): void;
  help(): void;
}

export interface ControlState {
  position: number;
  duration: number;
  playing: boolean;
  speed: number;
  skipIdle: boolean;
  live: boolean;
  following: boolean;
}

export class Controls {
  readonly element: HTMLElement;
  private readonly playButton: HTMLButtonElement;
  private readonly now = h('span', { class: 'now' });
  private readonly total = h('span', { class: 'total' });
  private readonly liveButton: HTMLButtonElement;
  private readonly speed: HTMLSelectElement;
  private readonly skip: HTMLButtonElement;
  private playing: boolean | undefined;

  constructor(commands: Commands) {
    this.playButton = button('Play', 'play', () => commands.toggle(), 'primary');
    this.playButton.dataset['control'] = 'play';
    this.liveButton = h('button', { type: 'button', class: 'live', 'data-control': 'live', hidden: true, onclick: () => commands.catchUp() });
    this.speed = h(
      'select',
      {
        'aria-label': 'Speed',
        'data-control': 'speed',
        onchange: () => commands.setSpeed(Number(this.speed.value)),
      },
      ...speeds.map((s) => h('option', { value: s }, `${s}×`)),
    );
    this.skip = h(
      'button',
      {
        type: 'button',
        class: 'toggle',
        'aria-pressed': 'false',
        'data-control': 'skip-idle',
        title: 'Skip idle time (i)',
        onclick: () => commands.setSkipIdle(this.skip.getAttribute('aria-pressed') !== 'true'),
      },
      icon('skip'),
      h('span', {}, 'Skip idle'),
    );
    this.element = h('div', { class: 'controls', role: 'group', 'aria-label': 'Playback' });
    const times = h('span', { class: 'times' }, this.now, h('span', { class: 'of', 'aria-hidden': 'true' }, '/'), this.total);
    add(this.element, this.playButton, times, this.liveButton, h('span', { class: 'space' }), this.skip, this.speed);
    add(
      this.element,
      button('Copy a link to this moment', 'link', () => commands.copyLink()),
      button('Keyboard shortcuts (?)', 'help', () => commands.help()),
      button('Full screen (f)', 'full', () => commands.fullScreen()),
    );
  }

  update(state: ControlState): void {
    setText(this.now, clock(state.position, state.duration < 600_000));
    setText(this.total, clock(state.duration));
    if (this.playing !== state.playing) {
      this.playing = state.playing;
      const name = state.playing ? 'Pause' : 'Play';
      this.playButton.replaceChildren(icon(state.playing ? 'pause' : 'play'));
      this.playButton.setAttribute('aria-label', name);
      this.playButton.title = `${name} (space)`;
    }
    if (document.activeElement !== this.speed) this.speed.value = String(state.speed);
    this.skip.setAttribute('aria-pressed', String(state.skipIdle));
    this.liveButton.hidden = !state.live;
    this.liveButton.classList.toggle('on', state.following);
    this.liveButton.title = state.following ? 'Shown as it happens' : 'Catch up (l)';
    setText(this.liveButton, state.following ? 'Live' : 'Go live');
  }
}

function button(name: string, picture: string, run: () => void, kind = ''): HTMLButtonElement {
  return h('button', { type: 'button', class: `icon-button ${kind}`.trim(), 'aria-label': name, title: name, onclick: run }, icon(picture));
}
