const PLAIN = /^[ !#-[\]-~]*$/;
const BEYOND_ASCII = /[\x7f-\uffff]/g;

/**
 * JSON with every character beyond ASCII escaped as `\uXXXX`: bytes and characters are then the same, and a line
 * does nothing to the terminal that shows it.
 */
export function toAscii(json: string): string {
  return json.replace(BEYOND_ASCII, escapeCharacter);
}

/**
 * `text` as such a JSON string, quotes included. In text that is bytes read as Latin-1, byte 0x80 to 0xff becomes
 * `\u0080` to `\u00ff`, and a reader gets every byte back.
 */
export function quote(text: string): string {
  return PLAIN.test(text) ? `"${text}"` : toAscii(JSON.stringify(text));
}

function escapeCharacter(char: string): string {
  return `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
