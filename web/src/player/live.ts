// What happens in a session that still runs, as it happens.

import * as api from '../api';
import { fromBase64 } from '../stream';
import type { EventLine } from '../types';
import { desktopItem, type DesktopItem } from './desktop';
import { outputItem, type Output } from './terminal';

export interface LiveHandlers {
  items(items: (Output | DesktopItem)[]): void;
  event(line: EventLine): void;
  ended(): void;
  /** Its recording cannot be read on. */
  damaged(text: string): void;
  /** Connected, or not and why. */
  connection(problem: string | undefined): void;
}

const firstRetryMS = 500;
const lastRetryMS = 15_000;

/** Follows from an event index on until the returned function is called. Connects again by itself. */
export function follow(sid: string, fromIndex: number, handlers: LiveHandlers): () => void {
  let next = fromIndex;
  let wait = firstRetryMS;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let source: EventSource;
  let dropped: string | undefined;
  let batch: (Output | DesktopItem)[] = [];

  // What comes in one go is drawn in one go.
  const flush = (): void => {
    const items = batch;
    batch = [];
    handlers.items(items);
  };
  const take = (item: Output | DesktopItem): void => {
    next = Math.max(next, item.index + 1);
    if (batch.length === 0) queueMicrotask(flush);
    batch.push(item);
  };
  const data = (e: Event): string => (e as MessageEvent<string>).data;

  const connect = (): void => {
    dropped = undefined;
    source = new EventSource(api.sessionPath(sid, `/live${api.query({ from_index: next })}`));
    source.addEventListener('open', () => {
      wait = firstRetryMS;
      handlers.connection(undefined);
    });
    source.addEventListener('output', (e) => take(outputItem(JSON.parse(data(e)))));
    source.addEventListener('desktop', (e) => take(desktopItem(fromBase64(data(e)))));
    source.addEventListener('event', (e) => {
      const line = JSON.parse(data(e)) as EventLine;
      next = Math.max(next, line.index + 1);
      handlers.event(line);
    });
    source.addEventListener('dropped', (e) => (dropped = reason(data(e))));
    source.addEventListener('damaged', (e) => {
      source.close();
      handlers.damaged(reason(data(e)));
    });
    source.addEventListener('end', () => {
      source.close();
      handlers.ended();
    });
    source.addEventListener('error', () => {
      source.close();
      handlers.connection(dropped ?? 'Connection lost; trying again.');
      timer = setTimeout(connect, wait);
      wait = Math.min(lastRetryMS, wait * 2);
    });
  };
  connect();
  return () => {
    clearTimeout(timer);
    source.close();
  };
}

function reason(data: string): string {
  try {
    const value = JSON.parse(data) as { reason?: string; error?: string } | string;
    return typeof value === 'string' ? value : (value.reason ?? value.error ?? data);
  } catch {
    return data;
  }
}
