/** Contrast of the page's colours in both themes, by the formula of WCAG 2.2 (relative luminance). */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { chrome, seriesColour, SERIES_COLOURS } from './palette';

type Rgb = readonly [number, number, number];
const THEMES = ['light', 'dark'] as const;
const css = readFileSync(new URL('../app.css', import.meta.url), 'utf8');

function rgb(hex: string): Rgb {
  const n = Number.parseInt(hex.slice(1), 16);
  return [n >> 16, (n >> 8) & 255, n & 255];
}

/** The value of a custom property of app.css in a theme. */
function token(name: string, theme: (typeof THEMES)[number]): string {
  const value = new RegExp(`--${name}:\\s*([^;]+);`).exec(css)?.[1]?.trim() ?? '';
  const other = /^var\(--([\w-]+)\)$/.exec(value)?.[1];
  if (other) return token(other, theme);
  const pair = /^light-dark\((#[\da-f]{6}), (#[\da-f]{6})\)$/.exec(value);
  const hex = pair ? pair[theme === 'light' ? 1 : 2] : value;
  if (!hex || !/^#[\da-f]{6}$/.test(hex)) throw new Error(`no colour --${name} in app.css: ${value}`);
  return hex;
}

function luminance(hex: string): number {
  const linear = (channel: number): number => {
    const c = channel / 255;
    return c <= 0.040_45 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  };
  const [r, g, b] = rgb(hex);
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
}

function contrast(a: string, b: string): number {
  const [x, y] = [luminance(a), luminance(b)];
  return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
}

it('knows the ends of the scale', () => {
  expect(contrast('#000000', '#ffffff')).toBeCloseTo(21);
  expect(contrast('#777777', '#ffffff')).toBeCloseTo(4.48, 2);
});

describe.each(THEMES)('in the %s theme', (theme) => {
  it.each([
    ...['good', 'warn', 'bad', 'none'].flatMap((tone) => [
      [`${tone}-text`, `${tone}-soft`],
      [`${tone}-text`, 'paper'],
    ]),
    ...['ground', 'paper', 'raised', 'none-soft', 'warn-soft', 'bad-soft'].map((on) => ['text', on]),
    ...['ground', 'paper', 'raised', 'none-soft'].map((on) => ['muted', on]),
    ['accent', 'paper'],
    ['accent', 'ground'],
    ['accent', 'accent-soft'],
  ] as [string, string][])('%s can be read on %s (AA: 4.5)', (text, on) => {
    expect(contrast(token(text, theme), token(on, theme))).toBeGreaterThanOrEqual(4.5);
  });

  it('the focus ring stands out from what it lies on (AA: 3)', () => {
    for (const on of ['paper', 'ground', 'accent-soft']) {
      expect(contrast(token('accent', theme), token(on, theme))).toBeGreaterThanOrEqual(3);
    }
  });

  it('lines of charts and their labels stand out from the card (AA: 3 and 4.5)', () => {
    const paper = token('paper', theme);
    expect(chrome(theme).paper).toBe(paper);
    expect(contrast(chrome(theme).text, paper)).toBeGreaterThanOrEqual(4.5);
    for (let i = 0; i < SERIES_COLOURS; i++) {
      expect(contrast(seriesColour(i, theme), paper)).toBeGreaterThanOrEqual(3);
    }
  });
});
