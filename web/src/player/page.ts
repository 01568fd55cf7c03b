// The player's page: a screen, a seek bar, controls, and the events beside them.

import * as api from '../api';
import { h, icon } from '../dom';
import { date, seconds } from '../format';
import { badge } from '../badges';
import { helpDialog } from '../help';

import { toast } from '../toast';
import { visible } from '../text';
import type { EventLine, Session, SessionDetail, TimedProblem, Timeline } from '../types';
import { Controls, speeds } from './controls';
import { DesktopSurface, desktopSource, type DesktopItem } from './desktop';
import { Details } from './details';
import { EventList } from './eventlist';
import { listen, type KeyCommands } from './keys';
import { follow } from './live';
import { keyMarkers, nextMarker } from './markers';
import { Notices, summary } from './notices';
import { Playhead, type Change } from './playhead';
import { SeekBar } from './seekbar';
import { tabs } from './tabs';
import { TerminalSurface, terminalSource, type Output } from './terminal';
import type { Surface } from './types';

/** Buckets of the activity map, as many as the server makes at most. */
const maxBuckets = 1000;

type AnyPlayhead = Playhead<Output> | Playhead<DesktopItem>;

export class PlayerPage {
  readonly element = h('main', { class: 'player', id: 'main' });
  private readonly stage = h('section', { class: 'stage', 'aria-label': 'Player', tabindex: '-1' });
  private readonly head = h('header', { class: 'player-head' });
  private readonly controls: Controls;
  private readonly seekBar = new SeekBar((ms) => void this.playhead.seek(ms));
  private readonly notices = new Notices();
  private readonly events: EventList;
  private readonly details: Details;
  private readonly playhead: AnyPlayhead;
  private readonly stops: (() => void)[] = [];
  private picture: (() => Promise<Blob>) | undefined;
  private mount: () => Promise<void> = async () => {};
  private addressTimer: ReturnType<typeof setTimeout> | undefined;
  private indexTimer: ReturnType<typeof setTimeout> | undefined;
  private indexTries = 0;

  constructor(
    private detail: SessionDetail,
    private timeline: Timeline,
    private readonly startAt: number | undefined,
  ) {
    this.playhead = this.makePlayhead();
    this.details = new Details(this.picture);
    const commands = this.commands();
    this.controls = new Controls({
      ...commands,
      setSpeed: (speed) => this.playhead.setSpeed(speed),
      setSkipIdle: (on) => this.playhead.setSkipIdle(on),
      copyLink: () => void this.copyLink(),
    });
    this.events = new EventList(detail.session, (ms) => void this.playhead.seek(ms));
    this.stops.push(listen(commands), () => this.events.dispose(), () => this.seekBar.dispose(), () => this.playhead.dispose());
    this.assemble();
    this.takeTimeline();
  }

  /** Called when the page is in the document. Begins at ms, or where the session's state suggests. */
  async shown(): Promise<void> {
    const ms = this.startAt;
    await this.mount();
    void this.events.load().then(() => this.events.follow(this.playhead.position));
    if (this.detail.state === 'live' || this.detail.state === 'ending') this.goLive();
    if (ms === undefined && this.playhead.live) this.playhead.follow();
    else await this.playhead.seek(ms ?? 0);
  }

  dispose(): void {
    clearTimeout(this.addressTimer);
    clearTimeout(this.indexTimer);
    for (const stop of this.stops) stop();
  }

  private makePlayhead(): AnyPlayhead {
    const { session: sid } = this.detail;
    const size = { cols: this.timeline.cols || this.detail.cols || 80, rows: this.timeline.rows || this.detail.rows || 24 };
    const onChange = (what: Change): void => this.changed(what);
    if (this.detail.kind === 'desktop') {
      const surface = new DesktopSurface(size);
      this.takeSurface(surface);
      this.picture = () => surface.picture();
      return new Playhead(desktopSource(sid), surface, onChange);
    }
    const surface = new TerminalSurface(size, () => this.playhead);
    this.takeSurface(surface);
    return new Playhead(terminalSource(sid, (t, text) => this.damaged(t, text)), surface, onChange);
  }

  private takeSurface(surface: Surface<never>): void {
    this.mount = () => surface.mount();
    const spinner = h('div', { class: 'spinner', 'aria-hidden': 'true' });
    const screen = h('div', { class: 'screen' }, surface.element, this.notices.element, spinner);
    screen.addEventListener('click', () => {
      if (getSelection()?.isCollapsed !== false) this.playhead.toggle(); // selecting text is no click
    });
    this.stage.append(screen);
  }

  private assemble(): void {
    this.stage.append(this.seekBar.element, this.controls.element);
    const side = h(
      'aside',
      { class: 'side', 'aria-label': 'About the session' },
      tabs('About the session', [
        ['Events', this.events.element],
        ['Details', this.details.element],
      ]),
    );
    this.element.append(this.head, h('div', { class: 'player-body' }, this.stage, side));
    this.showDetail();
  }

  private showDetail(): void {
    const s = this.detail;
    const title = `${visible(s.user) || 'unknown'}${s.host ? ` on ${visible(s.host)}` : ''}`;
    document.title = `${title} · Tapedeck`;
    this.head.replaceChildren(
      h('a', { href: '/', class: 'icon-button', 'aria-label': 'All sessions', title: 'All sessions' }, icon('back')),
      h('h1', {}, h('bdi', {}, title)),
      badge(s),
      h('span', { class: 'head-date' }, date(s.started)),
      summary(s.problems ?? []),
    );
    this.details.show(s);
    this.playhead.live = s.state === 'live' || s.state === 'ending';
  }

  private takeTimeline(): void {
    const t = this.timeline;
    t.markers = keyMarkers(t.markers ?? []);
    this.playhead.duration = Math.max(t.duration_ms, this.playhead.live ? this.playhead.duration : 0);
    this.playhead.idle = t.idle ?? [];
    this.playhead.keyframes = t.keyframes ?? [];
    this.showProblems(t.problems ?? []);
    this.awaitIndex();
    this.changed('time');
    this.changed('state');
  }

  // A finished recording gets its index in a moment, or because someone looks.
  private awaitIndex(): void {
    clearTimeout(this.indexTimer);
    if (this.timeline.indexed || this.playhead.live || this.indexTries >= 6) return;
    this.indexTimer = setTimeout(() => void this.refresh(), 1500 * 2 ** this.indexTries++);
  }

  private goLive(): void {
    this.stops.push(
      follow(this.detail.session, this.detail.events ?? 0, {
        items: (items) => this.liveItems(items),
        event: (line) => this.liveEvent(line),
        ended: () => void this.ended(),
        damaged: (text) => this.damaged(this.playhead.duration, text),
        connection: (problem) => this.notices.fail(problem),
      }),
    );
  }

  private liveItems(items: (Output | DesktopItem)[]): void {
    (this.playhead as Playhead<Output | DesktopItem>).arrive(items);
    const activity = (this.timeline.activity ??= []);
    for (const item of items) {
      if (!item.draws) continue;
      while (item.t / Math.max(1, this.timeline.bucket_ms) >= maxBuckets) this.coarser(activity);
      const bucket = Math.floor(item.t / Math.max(1, this.timeline.bucket_ms));
      while (activity.length <= bucket) activity.push(0);
      activity[bucket] = (activity[bucket] as number) + item.size;
    }
  }

  /** Halves the buckets: a long session, or a clock that was set forward, must not make ever more of them. */
  private coarser(activity: number[]): void {
    const half = Math.ceil(activity.length / 2);
    for (let i = 0; i < half; i++) activity[i] = (activity[2 * i] as number) + (activity[2 * i + 1] ?? 0);
    activity.length = half;
    this.timeline.bucket_ms = 2 * Math.max(1, this.timeline.bucket_ms);
  }

  private liveEvent(line: EventLine): void {
    this.events.append(line);
    this.playhead.extend(line.t_ms);
    const type = String(line.event['event'] ?? '');
    const [marker] = keyMarkers([{ t_ms: line.t_ms, index: line.index, type }]);
    if (marker !== undefined) this.seekBar.addMarker(marker);
  }

  // Reading finds damage that no index may have known of.
  private damaged(t_ms: number, text: string): void {
    this.timeline.problems ??= [];
    if (this.timeline.problems.some((p) => p.kind === 'corrupt' || p.kind === 'truncated')) return;
    this.timeline.problems.push({ t_ms, kind: 'corrupt', text });
    this.showProblems([...this.timeline.problems].slice(-1));
  }

  private showProblems(added: readonly TimedProblem[]): void {
    this.seekBar.setTimeline(this.timeline);
    this.notices.setProblems(this.timeline.problems ?? []);
    for (const problem of added) this.events.addProblem(problem);
  }

  // The session is over; its recording will be finished in a moment, and more is
  // known of it then.
  private async ended(): Promise<void> {
    this.playhead.end();
    const { session: sid } = this.detail;
    const changed = (s: Session): void => {
      if (s.session === sid) void this.refresh();
    };
    this.stops.push(api.changes(changed, () => {}));
    await this.refresh();
  }

  private async refresh(): Promise<void> {
    try {
      const { session: sid } = this.detail;
      [this.detail, this.timeline] = await Promise.all([api.session(sid), api.timeline(sid)]);
      this.showDetail();
      this.playhead.live = false;
      this.takeTimeline();
      await this.events.load();
    } catch (err) {
      this.notices.fail(err instanceof Error ? err.message : String(err));
    }
  }

  private changed(what: Change): void {
    const p = this.playhead;
    if (p === undefined || this.controls === undefined) return; // while it is being built
    this.seekBar.update(p.position, p.duration);
    this.controls.update(p);
    this.notices.at(p.position);
    this.events.follow(p.position);
    this.stage.classList.toggle('loading', p.loading);
    this.stage.classList.toggle('playing', p.playing);
    this.stage.dataset['position'] = String(Math.round(p.position));
    this.stage.dataset['lag'] = String(Math.round(p.lag()));
    this.stage.dataset['state'] = p.loading ? 'loading' : p.following ? 'following' : p.playing ? 'playing' : 'paused';
    if (what === 'error') this.notices.fail(p.error?.message);
    if (what === 'state') {
      if (p.error === undefined && !p.live) this.notices.fail(undefined);
      this.keepAddress();
    }
  }

  // The address bar has the time where one stopped, so that it is a link to it.
  private keepAddress(): void {
    clearTimeout(this.addressTimer);
    this.addressTimer = setTimeout(() => {
      if (!this.playhead.playing && !this.playhead.loading) history.replaceState(null, '', this.link());
    }, 200);
  }

  private link(): string {
    return `/s/${encodeURIComponent(this.detail.session)}?t=${seconds(this.playhead.position)}`;
  }

  private async copyLink(): Promise<void> {
    const link = new URL(this.link(), location.href).href;
    history.replaceState(null, '', link);
    try {
      await navigator.clipboard.writeText(link);
      toast('Link to this moment copied.');
    } catch {
      toast('The address bar now has the link to this moment.');
    }
  }

  private commands(): KeyCommands {
    const p = (): AnyPlayhead => this.playhead;
    return {
      toggle: () => p().toggle(),
      seekBy: (ms) => void p().seek(p().position + ms),
      seekShare: (share) => void p().seek(p().duration * share),
      seekByShare: (share) => void p().seek(p().position + p().duration * share),
      marker: (direction) => {
        const to = nextMarker(this.timeline, p().position, direction);
        if (to !== undefined) void p().seek(to);
      },
      step: (direction) => void p().step(direction),
      faster: (direction) => {
        const next = speeds[speeds.indexOf(p().speed) + direction];
        if (next !== undefined) p().setSpeed(next);
      },
      toggleSkipIdle: () => p().setSkipIdle(!p().skipIdle),
      catchUp: () => p().follow(),
      fullScreen: () => void this.fullScreen(),
      help: () => helpDialog(),
    };
  }

  private async fullScreen(): Promise<void> {
    if (document.fullscreenElement !== null) await document.exitFullscreen();
    else await this.stage.requestFullscreen().catch(() => toast('The browser refuses full screen.'));
  }
}

/** Reads what is known of a session and makes its player. */
export async function openPlayer(sid: string, ms: number | undefined): Promise<PlayerPage> {
  const [detail, timeline] = await Promise.all([api.session(sid), api.timeline(sid)]);
  return new PlayerPage(detail, timeline, ms);
}

