// Messages of the desktop protocol, as far as they show something. Big-endian;
// the first byte is the type.

export type Message =
  | { type: 'size'; width: number; height: number }
  | { type: 'image'; left: number; top: number; width: number; height: number; png: Uint8Array<ArrayBuffer> }
  | { type: 'move'; x: number; y: number }
  | { type: 'button'; down: boolean }
  | { type: 'notice'; text: string }
  | { type: 'other' };

const other: Message = { type: 'other' };

/** No screen is larger; a message that says so is not drawn. */
export const maxSide = 16_384;

/** A few kilobytes can decode to gigabytes. The server draws no larger picture either. */
const maxPixels = 33_177_600;

export function parse(data: Uint8Array<ArrayBuffer>): Message {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  try {
    return parseBody(data, view);
  } catch (err) {
    if (err instanceof RangeError) return { type: 'notice', text: `A message of type ${data[0] ?? 0} is cut off.` };
    throw err;
  }
}

function parseBody(data: Uint8Array<ArrayBuffer>, view: DataView): Message {
  switch (view.getUint8(0)) {
    case 1:
      return size(view.getUint32(1), view.getUint32(5));
    case 2:
      return image(view, 1, data.subarray(17));
    case 3:
      return { type: 'move', x: view.getUint32(1), y: view.getUint32(5) };
    case 4:
      return { type: 'button', down: view.getUint8(2) !== 0 };
    case 9:
    case 28:
      return { type: 'notice', text: alertText(data, view) };
    case 27: {
      const length = view.getUint32(1);
      if (21 + length > data.length) throw new RangeError('png');
      return image(view, 5, data.subarray(21, 21 + length));
    }
    case 29:
      return { type: 'notice', text: 'This part of the screen was sent in RDP’s own encoding, which is not shown.' };
    case 31:
      return size(view.getUint16(5), view.getUint16(7));
    default:
      return other;
  }
}

function size(width: number, height: number): Message {
  if (width < 1 || height < 1 || width > maxSide || height > maxSide) {
    return { type: 'notice', text: `A screen of ${width} × ${height} is not shown.` };
  }
  return { type: 'size', width, height };
}

function image(view: DataView, at: number, png: Uint8Array<ArrayBuffer>): Message {
  const [left, top, right, bottom] = [0, 4, 8, 12].map((o) => view.getUint32(at + o)) as [number, number, number, number];
  if (right > maxSide || bottom > maxSide || right < left || bottom < top) {
    return { type: 'notice', text: 'A picture outside of the screen is not shown.' };
  }
  if (pixels(png) > maxPixels) return { type: 'notice', text: 'A picture of too many pixels is not shown.' };
  return { type: 'image', left, top, width: right - left, height: bottom - top, png };
}

/** The pixels that a PNG says it has, from its first chunk; what is no PNG has none and fails to decode. */
function pixels(png: Uint8Array): number {
  if (png.length < 24) return 0;
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  return view.getUint32(16) * view.getUint32(20);
}

// Both carry a u32 length and that much text.
function alertText(data: Uint8Array, view: DataView): string {
  const length = Math.min(view.getUint32(1), 2000);
  return new TextDecoder().decode(data.subarray(5, 5 + length)) || 'The server sent an alert.';
}
