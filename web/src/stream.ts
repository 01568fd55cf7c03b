// Bodies that are read as they come: JSON lines, and records with a length before them.

async function* chunks(response: Response): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  if (reader === undefined) return;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    // Who stops early wants no more of it: the server must hear of that.
    await reader.cancel().catch(() => {});
  }
}

/** The values of newline-delimited JSON, a batch for each chunk that arrives. */
export async function* lines<T>(response: Response): AsyncGenerator<T[]> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of chunks(response)) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = parts.pop() ?? '';
    const batch = parts.filter((line) => line !== '').map((line) => JSON.parse(line) as T);
    if (batch.length > 0) yield batch;
  }
  rest += decoder.decode();
  if (rest.trim() !== '') yield [JSON.parse(rest) as T];
}

/** The most that a record may say its length is: a message is smaller by far. */
const maxRecord = 16 << 20;

/** The records of a body, each a u32 length and as many bytes; a batch for each chunk. */
export async function* records(response: Response): AsyncGenerator<Uint8Array[]> {
  let rest = new Uint8Array(0);
  for await (const chunk of chunks(response)) {
    const data = joined(rest, chunk);
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    const batch: Uint8Array[] = [];
    let at = 0;
    while (at + 4 <= data.length) {
      const length = view.getUint32(at);
      if (length > maxRecord) throw new Error(`a record of ${length} bytes: more than ${maxRecord}`);
      if (at + 4 + length > data.length) break;
      batch.push(data.subarray(at + 4, at + 4 + length));
      at += 4 + length;
    }
    rest = data.slice(at);
    if (batch.length > 0) yield batch;
  }
  if (rest.length > 0) throw new Error(`the answer ends inside a record, ${rest.length} bytes after the last whole one`);
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
