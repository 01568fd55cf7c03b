// Terminal sessions: their output from the API, drawn by asciinema-player.
//
// The player has the terminal and nothing else: the playhead is ours, so that a
// jump starts at a keyframe, and the controls are ours, so that both kinds of
// recording have the same. Its driver interface is the seam: a function that is
// given `dispatch` and answers with what the player may ask of it. Its other way
// to jump, a source in segments, wants the whole recording cut at its own
// boundaries and cannot skip idle time.

import * as AsciinemaPlayer from 'asciinema-player';
import * as api from '../api';
import { lines } from '../stream';
import type { Keyframe } from '../types';
import type { Item, Source, Surface } from './types';

type Line = [t: number, index: number, code: string, data: string];

/** Told where a recording is damaged, so that it cannot be read on. */
export type OnDamage = (t: number, text: string) => void;

export interface Output extends Item {
  readonly code: string;
  readonly data: string;
}

export function outputItem([t, index, code, data]: Line): Output {
  return { t, index, code, data, draws: code === 'o' || code === 'r', size: data.length * 2 + 64 };
}

export function terminalSource(sid: string, onDamage: OnDamage): Source<Output> {
  return {
    keyframe: (ms, signal) => api.keyframe(sid, ms, signal),
    async *read(fromIndex, toMS, signal) {
      const params = { from_index: fromIndex, to_ms: toMS === undefined ? undefined : Math.ceil(toMS) };
      const response = await api.request(api.sessionPath(sid, `/output${api.query(params)}`), { signal });
      for await (const batch of lines<Line>(response)) {
        const damage = batch.find(([, , code]) => code === 'x');
        if (damage !== undefined) onDamage(damage[0], damage[3]);
        yield batch.filter(([, , code]) => code !== 'x').map(outputItem);
      }
    },
  };
}

type Dispatch = (event: string, data?: unknown) => void;

/** What the player may ask of the playhead. */
interface Clock {
  readonly position: number;
  readonly duration: number;
  play(): void;
  pause(): void;
}

const font = '"JetBrains Mono Variable"';

export class TerminalSurface implements Surface<Output> {
  readonly element = document.createElement('div');
  private player: AsciinemaPlayer.Player | undefined;
  private dispatch: Dispatch = () => {};

  constructor(
    private readonly size: { cols: number; rows: number },
    private readonly playhead: () => Clock,
  ) {
    this.element.className = 'terminal';
  }

  /** The player measures its font and reads its colours as it is made: both must be there. */
  async mount(): Promise<void> {
    await document.fonts.load(`15px ${font}`).catch(() => []);
    await new Promise<void>((started) => {
      const driver = ({ dispatch }: { dispatch: Dispatch }): object => ({
        init: () => {
          this.dispatch = dispatch;
          dispatch('play'); // takes the player's start button away
          started();
        },
        play: () => this.playhead().play(),
        pause: () => this.playhead().pause(),
        getCurrentTime: () => this.playhead().position / 1000,
        getDuration: () => this.playhead().duration / 1000,
      });
      // The driver is a function; the package's types know only its own sources.
      this.player = AsciinemaPlayer.create(driver as unknown as AsciinemaPlayer.Source, this.element, {
        ...this.size,
        controls: false,
        fit: 'both',
        theme: 'tapedeck',
        cursorMode: 'steady',
        terminalFontFamily: `${font}, "DejaVu Sans Mono", Menlo, Consolas, monospace`,
      });
    });
  }

  async reset(frame: Keyframe | null): Promise<void> {
    const size = frame === null ? this.size : { cols: frame.cols, rows: frame.rows };
    this.dispatch('reset', { size, init: frame?.data });
  }

  apply(items: Output[]): void {
    let text: string[] = [];
    const flush = (): void => {
      if (text.length > 0) this.dispatch('output', text.join(''));
      text = [];
    };
    for (const item of items) {
      if (item.code === 'o') {
        text.push(item.data);
        continue;
      }
      const size = /^(\d+)x(\d+)$/.exec(item.data);
      if (size === null) continue;
      flush();
      this.dispatch('resize', { cols: Number(size[1]), rows: Number(size[2]) });
    }
    flush();
  }

  /** Output is drawn as it is applied; this lets the browser paint. */
  async settled(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve));
  }

  waitingSince(): undefined {
    return undefined;
  }

  setPlaying(playing: boolean): void {
    this.dispatch(playing ? 'playing' : 'pause');
  }

  dispose(): void {
    this.player?.dispose();
  }
}
