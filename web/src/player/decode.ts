// PNG squares to pictures. A desktop sends a thousand of them a second, and eight
// times as many when it is played at eight times its speed. ImageDecoder does that
// (9,000 a second on a busy core); createImageBitmap, which is there without a
// secure context too, a third of it, since each blob takes a trip of its own.

export type Picture = (VideoFrame | ImageBitmap) & { close(): void };

export function pictureDecoder(): (png: Uint8Array<ArrayBuffer>) => Promise<Picture> {
  return typeof ImageDecoder === 'undefined' ? decodeBlob : decodeDirectly;
}

async function decodeDirectly(png: Uint8Array<ArrayBuffer>): Promise<Picture> {
  const decoder = new ImageDecoder({ data: png, type: 'image/png' });
  try {
    return (await decoder.decode()).image;
  } finally {
    decoder.close();
  }
}

function decodeBlob(png: Uint8Array<ArrayBuffer>): Promise<Picture> {
  return createImageBitmap(new Blob([png], { type: 'image/png' }));
}
