/** A template is text with `{field}` placeholders: `Bearer {token}`. */
const PLACEHOLDER = /\{([a-z][a-z0-9_]*)\}/g;

/** Names of the fields that a template asks for, each once. */
export function placeholders(template: string): string[] {
  return [...new Set(Array.from(template.matchAll(PLACEHOLDER), (match) => match[1] ?? ''))];
}

/** The text around the placeholders. */
export function literals(template: string): string {
  return template.replace(PLACEHOLDER, '');
}

/** Fills in what `value` knows; a placeholder for which it answers undefined stays. */
export function fill(template: string, value: (name: string) => string | undefined): string {
  return template.replace(PLACEHOLDER, (whole, name: string) => value(name) ?? whole);
}
