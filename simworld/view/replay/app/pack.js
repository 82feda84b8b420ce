// Blocks: typed columns in one answer. u32 length of the header, the header (JSON), then the columns' bytes.

const ARRAYS = { f32: Float32Array, f64: Float64Array, i32: Int32Array, u32: Uint32Array, u16: Uint16Array, u8: Uint8Array };

/** The columns of a block as views of its bytes: { header, rows, columns: {name: typed array}, labels: {name: texts} }. */
export function decodeBlock(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  // Without a prototype: a run may call a column "constructor" or "__proto__".
  const columns = Object.create(null);
  const labels = Object.create(null);
  for (const column of header.columns) {
    columns[column.name] = new ARRAYS[column.type](buffer, 4 + length + column.offset, column.length);
    if (column.labels) labels[column.name] = column.labels;
  }
  return { header, rows: header.rows, columns, labels };
}

/** Bytes of a base64 text. */
export function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

/** Unpacks gzip; an ArrayBuffer. */
export async function gunzip(bytes) {
  return await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}
